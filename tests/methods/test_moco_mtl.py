"""MoCo-MTL: methods.md §5."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from medistill.methods._aggregation import shortest_weights
from medistill.methods.moco_mtl import MocoMtl
from tests.tiny import tiny_batch, tiny_student, tiny_tasks


def rows_of(method: MocoMtl, *numbers: tuple[float, float]) -> Tensor:
    """Gradients that lie in two dimensions of the many."""
    rows = torch.zeros_like(method.tracked)
    rows[:, :2] = torch.tensor(numbers)
    return rows


def test_with_constant_gradients_its_weights_come_to_the_shortest_combination() -> None:
    method = MocoMtl(tiny_student(), tiny_tasks(), tracking=1.0, weighting=0.1, decay=0.0)
    rows = rows_of(method, (2.0, 0.5), (-0.5, 1.0))
    for _ in range(200):
        direction = method.combined(rows)
    assert_close(method.weights, shortest_weights(rows @ rows.T), atol=1e-5, rtol=0)
    assert_close(direction, method.weights @ rows)


def test_one_step_is_that_of_the_paper() -> None:
    method = MocoMtl(tiny_student(), tiny_tasks(), regularisation=0.3)
    method.step += 3
    before = rows_of(method, (1.0, 0.0), (0.0, 1.0))
    method.tracked.copy_(before)
    rows = rows_of(method, (2.0, 1.0), (-1.0, 1.0))
    direction = method.combined(rows)
    tracked = before - 0.5 / 2 * (before - rows)  # k = 4, whose root is 2
    gram = tracked @ tracked.T + 0.3 * torch.eye(2)
    point = torch.full((2,), 0.5) - 0.1 / 2 * gram @ torch.full((2,), 0.5)
    weights = point + (1 - point.sum()) / 2  # inside the simplex: onto its plane
    assert_close(method.tracked, tracked)
    assert_close(method.weights, weights)
    assert_close(direction, weights @ tracked)


def test_of_one_task_without_memory_it_is_plain_descent() -> None:
    method = MocoMtl(tiny_student(), tiny_tasks()[:1], tracking=1.0, decay=0.0)
    for numbers in ((1.0, 2.0), (-3.0, 0.5)):
        rows = rows_of(method, numbers)
        assert_close(method.combined(rows), rows[0])


def test_a_task_that_is_absent_keeps_its_row_and_goes_on_pulling() -> None:
    method = MocoMtl(tiny_student(), tiny_tasks())
    method.combined(rows_of(method, (1.0, 0.0), (0.0, 1.0)))
    before = method.tracked[1].clone()
    direction = method.combined(rows_of(method, (1.0, 0.0), (0.0, 0.0)))
    assert torch.equal(method.tracked[1], before)
    assert direction[1] > 0


def test_the_variant_of_libmtl_normalises_by_the_loss_and_weighs_almost_equally() -> None:
    method = MocoMtl(
        tiny_student(), tiny_tasks(), tracking=1.0, simplex="softmax", normalised=True, decay=0.0
    )
    method.values = torch.tensor([2.0, 3.0])
    method.combined(rows_of(method, (10.0, 0.0), (0.0, 0.1)))
    assert_close(method.tracked.norm(dim=1), torch.tensor([2.0, 3.0]))
    start = torch.full((2,), 0.5)
    expected = (start - 0.1 * torch.tensor([4.0, 9.0]) * start).softmax(0)
    assert_close(method.weights, expected)


@pytest.mark.parametrize("simplex", ["projection", "softmax"])
def test_weights_stay_shares_in_a_training(simplex: str) -> None:
    method = MocoMtl(tiny_student(), tiny_tasks(), weighting=5.0, simplex=simplex)
    for _ in range(5):
        method.backward(method.losses(tiny_batch(), 0.5))
        assert_close(method.weights.sum().item(), 1.0)
        assert (method.weights >= 0).all()
    assert method.step == 5
