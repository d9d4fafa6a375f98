"""One head over the classes of many sets."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.methods.universal_pretraining import UniversalPretraining
from medistill.types import Task
from tests.tiny import tiny_batch, tiny_student

TASKS = (
    Task("lung", "classification", ("healthy", "ill"), 4),
    Task("atlas", "unlabelled", (), 9),
    Task("skin", "classification", ("a", "b", "c"), 4),
)


@pytest.fixture
def method() -> UniversalPretraining:
    return UniversalPretraining(tiny_student(), TASKS).eval()


def test_the_classes_of_a_task_come_after_those_of_the_tasks_before(
    method: UniversalPretraining,
) -> None:
    batch = tiny_batch(4)
    batch.tasks[:] = torch.tensor([0, 2, 2, 0])
    batch.targets[:] = torch.tensor([1, 0, 2, 0])
    logits = method.student(batch.images).logits
    expected = F.cross_entropy(logits, torch.tensor([1, 2, 4, 0]))
    assert_close(method.losses(batch, 0.0), {"labels": expected})


def test_images_without_labels_do_not_count(method: UniversalPretraining) -> None:
    batch = tiny_batch(4)
    batch.tasks[:] = torch.tensor([0, 1, 1, 2])
    batch.targets[:] = torch.tensor([1, -1, -1, 2])
    logits = method.student(batch.images).logits[[0, 3]]
    expected = F.cross_entropy(logits, torch.tensor([1, 4]))
    assert_close(method.losses(batch, 0.0), {"labels": expected})


def test_each_task_is_deployed_with_the_rows_of_its_classes(method: UniversalPretraining) -> None:
    images = tiny_batch().images
    logits = method.student(images).logits
    deployed = method.deploy()
    assert list(deployed) == ["lung", "skin"]
    assert_close(deployed["lung"].eval()(images).logits, logits[:, :2])
    assert_close(deployed["skin"].eval()(images).logits, logits[:, 2:])
    assert deployed["lung"].encoder is deployed["skin"].encoder


def test_tasks_without_any_label_are_refused() -> None:
    with pytest.raises(UserError, match="atlas"):
        UniversalPretraining(tiny_student(), TASKS[1:2])
