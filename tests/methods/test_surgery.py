"""Gradients of single tasks, and what a rule makes of them."""

import copy

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from medistill.methods._surgery import GradientSurgery
from medistill.methods.aligned_mtl import AlignedMtl
from medistill.methods.mgda import Mgda
from medistill.methods.moco_mtl import MocoMtl
from medistill.methods.pcgrad import Pcgrad
from medistill.types import Batch, Task
from tests.tiny import tiny_batch, tiny_student

CLASSES = ("healthy", "benign", "malignant")
TASKS = tuple(Task(name, "classification", CLASSES, 8) for name in ("lung", "breast", "skin"))
RULES = (AlignedMtl, Mgda, MocoMtl, Pcgrad)


class Sum(GradientSurgery):
    """The rule without any surgery; it remembers what it was given."""

    paper = "None"

    def combined(self, rows: Tensor) -> Tensor:
        self.rows = rows
        return rows.sum(0)


@pytest.fixture
def batch() -> Batch:
    """Lung and breast, and no skin."""
    return tiny_batch()


def stepped(method: GradientSurgery, batch: Batch, scale: float = 1.0) -> dict[str, Tensor | None]:
    """The gradients after one backward pass, by name of the parameter."""
    method.zero_grad(set_to_none=True)
    losses = method.losses(batch, 0.5)
    method.backward({name: scale * loss for name, loss in losses.items()})
    return {name: parameter.grad for name, parameter in method.named_parameters()}


def test_without_surgery_it_is_the_gradient_of_the_sum(batch: Batch) -> None:
    method = Sum(tiny_student(), TASKS)
    plain = copy.deepcopy(method)
    found = stepped(method, batch)
    torch.stack(list(plain.losses(batch, 0.5).values())).sum().backward()
    for name, parameter in plain.named_parameters():
        assert_close(found[name], parameter.grad, msg=name)


def test_each_row_is_the_gradient_of_one_task_and_zeros_of_an_absent_one(batch: Batch) -> None:
    method = Sum(tiny_student(), TASKS)
    alone = copy.deepcopy(method)
    stepped(method, batch)
    loss = alone.losses(batch, 0.5)["breast"]
    expected = torch.autograd.grad(loss, list(alone.encoder.parameters()))
    assert_close(method.rows[1], torch.cat([gradient.flatten() for gradient in expected]))
    assert method.rows[0].any() and not method.rows[2].any()


def test_losses_have_a_term_for_every_task_whether_it_is_there_or_not(batch: Batch) -> None:
    losses = Sum(tiny_student(), TASKS).losses(batch, 0.5)
    assert list(losses) == ["lung", "breast", "skin"] and losses["skin"] == 0


@pytest.mark.parametrize("rule", RULES)
def test_heads_follow_their_own_task_and_an_absent_one_stays(
    rule: type[GradientSurgery], batch: Batch
) -> None:
    method = rule(tiny_student(), TASKS)
    plain = copy.deepcopy(method)
    found = stepped(method, batch)
    torch.stack(list(plain.losses(batch, 0.5).values())).sum().backward()
    for name, parameter in plain.named_parameters():
        if name.startswith("heads"):
            assert (found[name] is None) == name.startswith("heads.linears.2")
            assert_close(found[name], parameter.grad)


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_without_any_label_moves_nothing(rule: type[GradientSurgery], batch: Batch) -> None:
    batch.targets[:] = -1
    found = stepped(rule(tiny_student(), TASKS), batch)
    assert all(gradient is None or not gradient.any() for gradient in found.values())


@pytest.mark.parametrize("rule", RULES)
def test_of_one_task_it_goes_along_its_gradient(rule: type[GradientSurgery], batch: Batch) -> None:
    batch.tasks[:] = 0
    method = rule(tiny_student(), TASKS[:1])
    plain = copy.deepcopy(method)
    found = stepped(method, batch)
    plain.losses(batch, 0.5)["lung"].backward()
    # MoCo's first row is half of the first gradient: β is 0.5.
    share = 0.5 if rule is MocoMtl else 1.0
    for name, parameter in plain.encoder.named_parameters():
        # Biases before a batch norm have no gradient but rounding.
        assert_close(found[f"encoder.{name}"], share * parameter.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_the_loss_scaling_of_fp16_scales_the_gradients_and_nothing_else(
    rule: type[GradientSurgery], batch: Batch
) -> None:
    method = rule(tiny_student(), TASKS)
    other = copy.deepcopy(method)
    plain, scaled = stepped(method, batch), stepped(other, batch, scale=1024.0)
    for name, gradient in plain.items():
        if gradient is not None:
            assert_close(scaled[name], 1024 * gradient, atol=1e-4, rtol=1e-4, msg=name)
    assert_close(other.state_dict(), method.state_dict(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_an_overflow_reaches_the_scaler_and_no_state(
    rule: type[GradientSurgery], batch: Batch
) -> None:
    method = rule(tiny_student(), TASKS)
    buffers = {name: buffer.clone() for name, buffer in method.named_buffers(recurse=False)}
    found = stepped(method, batch, scale=float("inf"))
    assert not all(g is None or g.isfinite().all() for g in found.values())
    assert_close(dict(method.named_buffers(recurse=False)), buffers, rtol=0, atol=0)
