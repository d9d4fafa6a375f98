"""What methods of several tasks share."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.methods._tasks import (
    Heads,
    batch_mean,
    labelled,
    means_by_task,
    present,
    refuse_unlabelled,
    share_of,
)
from medistill.methods.multi_task import MultiTask
from medistill.types import Batch, Task
from tests.tiny import tiny_batch, tiny_encoder, tiny_student, tiny_tasks

TASKS = (
    Task("lung", "classification", ("healthy", "ill"), 9),
    Task("loose", "unlabelled", (), 9),
    Task("breast", "classification", ("normal", "benign", "malignant"), 9),
)


@pytest.fixture
def batch() -> Batch:
    """Three samples of lung, one of them without a label; two loose ones; three of breast."""
    batch = tiny_batch()
    batch.tasks[:] = torch.tensor([0, 2, 1, 0, 2, 0, 1, 2])
    batch.targets[:] = torch.tensor([0, 2, -1, 1, 0, -1, -1, 1])
    batch.weights[:] = torch.linspace(0.5, 2, 8)
    return batch


def test_each_sample_is_judged_by_the_head_of_its_task(batch: Batch) -> None:
    heads, features = Heads(4, TASKS), torch.randn(8, 4)
    each = heads(features, batch)
    for row, (task, target) in enumerate(zip(batch.tasks, batch.targets, strict=True)):
        expected = 0.0
        if target >= 0:
            expected = F.cross_entropy(heads.linears[task](features[row]), target)
        assert_close(each[row], torch.as_tensor(expected))


def test_a_head_that_nothing_asked_has_no_gradient(batch: Batch) -> None:
    batch.tasks[:] = 2
    heads = Heads(4, TASKS)
    heads(torch.randn(8, 4), batch).sum().backward()
    assert heads.linears[0].weight.grad is None
    assert heads.linears[2].weight.grad is not None


def test_the_mean_over_the_batch_is_that_of_the_tasks_by_their_shares(batch: Batch) -> None:
    each = torch.rand(8)
    means = means_by_task(each, batch, TASKS)
    weights = batch.weights * (batch.targets >= 0)
    shares = [weights[batch.tasks == place].sum() / weights.sum() for place in range(3)]
    expected = sum(share * mean for share, mean in zip(shares, means.values(), strict=True))
    assert_close(batch_mean(each, batch), expected)


def test_a_task_that_is_absent_has_a_mean_of_0(batch: Batch) -> None:
    means = means_by_task(torch.ones(8), batch, TASKS)
    assert {name: mean.item() for name, mean in means.items()} == {
        "lung": 1, "loose": 0, "breast": 1,
    }  # fmt: skip


def test_presence_is_of_samples_or_of_labels(batch: Batch) -> None:
    assert present(batch, 4) == [True, True, True, False]
    assert labelled(batch, 4) == [True, False, True, False]


def test_a_share_is_a_batch_of_one_task(batch: Batch) -> None:
    share = share_of(batch, 2)
    assert share.samples.tolist() == [1, 4, 7]
    assert share.targets.tolist() == [2, 0, 1]
    assert not share.tasks.any()
    assert torch.equal(share.images, batch.images[[1, 4, 7]])


def test_networks_are_plain_ones_for_labelled_tasks_that_share_what_they_are_given() -> None:
    heads, encoder = Heads(6, TASKS), tiny_encoder()
    networks = heads.on([encoder] * 3)
    assert list(networks) == ["lung", "breast"]
    assert all(network.encoder is encoder for network in networks.values())
    assert networks["breast"].head is heads.linears[2]


def test_a_task_without_labels_is_refused_by_what_learns_from_them_alone() -> None:
    with pytest.raises(UserError, match=r"multi_task learns .* loose has none. Leave data.roots"):
        MultiTask(tiny_student(), TASKS)
    refuse_unlabelled(MultiTask(tiny_student(), tiny_tasks()), tiny_tasks())


def test_heads_of_features_in_half_precision_judge_in_float32(batch: Batch) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        features = nn.Linear(4, 4)(torch.randn(8, 4))
        each = Heads(4, TASKS)(features, batch)
    assert features.dtype == torch.bfloat16 and each.dtype == torch.float32
