"""The linear probe: what is trained is a Linear, what is deployed is the foundation model."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.methods.linear_probe import LinearProbe
from medistill.models.teachers import Precomputed
from tests.tiny import tiny_batch, tiny_tasks, tiny_teacher


class Around:
    """Another teacher that holds the frozen one, as a probe (`teacher`) or a cache (`source`)."""

    def __init__(self, **held) -> None:
        vars(self).update(held)
        (inner,) = held.values()
        self.width, self.classes = inner.width, inner.classes
        self.map_shape, self.map_shapes = inner.map_shape, inner.map_shapes

    def __call__(self, batch):
        raise NotImplementedError


def test_it_trains_one_linear_per_task_and_nothing_else() -> None:
    method = LinearProbe(tiny_teacher(), tiny_tasks())
    assert [tuple(p.shape) for p in method.parameters()] == [(3, 8), (3,)] * 2
    assert all(isinstance(head, nn.Linear) for head in method.heads)


def test_it_deploys_the_foundation_model_with_each_head() -> None:
    batch, teacher = tiny_batch(), tiny_teacher()
    method = LinearProbe(teacher, tiny_tasks())
    deployed = method.deploy()
    assert list(deployed) == ["lung", "breast"]
    for head, network in zip(method.heads, deployed.values(), strict=True):
        assert_close(network.eval()(batch.images).logits, head(teacher(batch).features))


def test_a_head_learns_from_the_samples_of_its_task_alone() -> None:
    batch, method = tiny_batch(), LinearProbe(tiny_teacher(), tiny_tasks())
    batch.tasks[:] = 0
    method.backward(method.losses(batch, 0.0))
    assert method.heads[0].weight.grad.any()
    assert not method.heads[1].weight.grad.any()


@pytest.mark.parametrize("role", ["teacher", "source"])
def test_the_foundation_model_is_found_below_a_probe_or_a_cache(role: str) -> None:
    teacher = tiny_teacher()
    deployed = LinearProbe(Around(**{role: teacher}), tiny_tasks()).deploy()
    assert deployed["lung"].encoder is teacher.encoder


def test_features_without_a_model_are_refused_before_training() -> None:
    with pytest.raises(UserError, match="features alone"):
        LinearProbe(Precomputed(torch.randn(4, 8), torch.arange(4)), tiny_tasks())
