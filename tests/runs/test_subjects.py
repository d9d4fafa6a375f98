"""What is looked at: rows in an order that no file's name decides, images as networks take them."""

from dataclasses import replace

import pytest
import torch

from medistill.data.opening import Opened
from medistill.runs.subjects import images_of
from tests.trained import Phantoms

from .opened import looked, open_breast, subject


@pytest.fixture(scope="module")
def opened(phantoms: Phantoms) -> Opened:
    return open_breast(phantoms)


class TestSubjects:
    def test_rows_are_those_with_a_label_in_an_order_that_no_name_decides(
        self, opened: Opened
    ) -> None:
        targets = opened.dataset.targets.copy()
        unlabelled = opened.dataset.splits["test"][3]
        targets[unlabelled] = -1
        some = replace(opened, dataset=replace(opened.dataset, targets=targets))
        rows = looked(some, subject("a")).rows
        assert len(rows) == 17
        assert unlabelled not in rows
        digests = [opened.digests[row] for row in rows]
        assert digests == sorted(digests)

    def test_images_have_three_channels_from_nought_to_one(self, opened: Opened) -> None:
        images = images_of(opened, [0, 5])
        assert images.shape == (2, 3, 32, 32)
        assert 0 <= images.min() < images.max() <= 1
        assert torch.equal(images[:, 0], images[:, 2])
