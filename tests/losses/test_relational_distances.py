"""Distances and angles of RKD: methods.md §2.9."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from medistill.losses.relational_distances import angle_discrepancy, distance_discrepancy

BOTH = pytest.mark.parametrize("loss", [distance_discrepancy, angle_discrepancy])
Loss = Callable[[Tensor, Tensor], Tensor]


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def huber(error: float) -> float:
    return error**2 / 2 if abs(error) < 1 else abs(error) - 0.5


def naive_distances(rows: Tensor) -> dict[tuple[int, int], float]:
    found = {
        (i, j): (rows[i] - rows[j]).norm().item() for i, j in product(range(len(rows)), repeat=2)
    }
    positive = [distance for distance in found.values() if distance > 0]
    return {pair: distance / (sum(positive) / len(positive)) for pair, distance in found.items()}


def naive_angles(rows: Tensor) -> dict[tuple[int, int, int], float]:
    found = {}
    for i, j, k in product(range(len(rows)), repeat=3):
        a, b = rows[i] - rows[j], rows[k] - rows[j]
        lengths = (a.norm() * b.norm()).item()
        found[i, j, k] = (a @ b).item() / lengths if lengths else 0.0
    return found


@pytest.mark.parametrize(
    ("loss", "naive"),
    [(distance_discrepancy, naive_distances), (angle_discrepancy, naive_angles)],
)
def test_they_are_the_means_over_all_pairs_and_triplets(
    loss: Loss, naive: Callable[[Tensor], dict[object, float]]
) -> None:
    features, wanted = draw(0, 6, 3), draw(1, 6, 8)
    own, reference = naive(features), naive(wanted)
    errors = [huber(own[place] - reference[place]) for place in own]
    assert_close(loss(features, wanted).item(), sum(errors) / len(errors))


@BOTH
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_they_are_unmoved_by_translation_rotation_and_scaling(
    loss: Loss, seed: int, scale: float, shift: float
) -> None:
    features, wanted = draw(seed, 7, 4), draw(seed + 1, 7, 5)
    rotation = torch.linalg.qr(draw(seed + 2, 4, 4)).Q
    moved = scale * features @ rotation + shift
    assert_close(loss(moved, wanted), loss(features, wanted))
    assert loss(moved, features) < 1e-10


@BOTH
def test_equal_rows_leave_the_gradient_finite_and_small(loss: Loss) -> None:
    """Unguarded it reaches 1e11, and squashes every other gradient under a clip."""
    features = draw(0, 8, 16, dtype=torch.float32)
    features[1:3] = features[0].clone()  # the same image three times in one batch
    features[3] = features[4] + 1e-7
    features.requires_grad_()
    loss(features, draw(1, 8, 16, dtype=torch.float32)).backward()
    assert features.grad.isfinite().all()
    assert features.grad.abs().max() < 1


@BOTH
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_batches_with_hardly_a_relation_are_finite(loss: Loss, rows: int, spread: float) -> None:
    features = (spread * draw(0, rows, 4)).requires_grad_()
    value = loss(features, draw(1, rows, 3))
    value.backward()
    assert value.isfinite() and features.grad.isfinite().all()


@BOTH
def test_no_gradient_reaches_what_is_imitated(loss: Loss) -> None:
    wanted = draw(0, 5, 3).requires_grad_()
    loss(draw(1, 5, 3).requires_grad_(), wanted).backward()
    assert wanted.grad is None


@BOTH
def test_half_precision_features_are_compared_in_float32(loss: Loss) -> None:
    features, wanted = draw(0, 2, 6, 5, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(features, wanted)
    assert_close(value, loss(features.float(), wanted.float()), rtol=0, atol=0)
