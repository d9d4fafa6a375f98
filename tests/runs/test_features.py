"""What networks say of a split, and how alike they see it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from medistill.data.opening import Opened
from medistill.runs import features
from medistill.runs.console import Console
from tests.trained import Phantoms

from .opened import looked, open_breast, subject

CPU, QUIET = torch.device("cpu"), Console(quiet=True)


@pytest.fixture(scope="module")
def opened(phantoms: Phantoms) -> Opened:
    return open_breast(phantoms)


class TestFeatures:
    def test_a_network_is_like_itself_and_scales_are_those_of_run_and_teacher(
        self, opened: Opened
    ) -> None:
        what = looked(opened, subject("teacher", 8), subject("run"))
        found = features.compare(what, features.see(what, CPU, QUIET))
        assert found is not None
        matrix = torch.tensor(found["cka"])
        assert_close(matrix.diagonal(), torch.ones(2))
        assert_close(matrix, matrix.T)
        assert found["images"] == 18
        assert np.shape(found["scales"]["cka"]) == (2, 2)
        assert (found["scales"]["rows"], found["scales"]["columns"]) == ("run", "teacher")

    def test_without_a_teacher_there_are_no_scales(self, opened: Opened) -> None:
        what = looked(opened, subject("run"))
        found = features.compare(what, features.see(what, CPU, QUIET))
        assert found is not None
        assert found["scales"] is None

    def test_of_too_few_images_nothing_is_said(self, opened: Opened) -> None:
        few = {**opened.dataset.splits, "test": opened.dataset.splits["test"][:3]}
        what = looked(replace(opened, dataset=replace(opened.dataset, splits=few)), subject("run"))
        assert features.compare(what, features.see(what, CPU, QUIET)) is None

    def test_who_does_not_answer_is_asked_for_features_alone(self, opened: Opened) -> None:
        (mute,) = features.see(looked(opened, subject("mute", answers=False)), CPU, QUIET)
        assert mute.logits is None
        assert mute.features.shape == (18, 6)
