"""Distances between features, sample by sample."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from medistill.losses.regression import feature_cosine, feature_mse

A = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
B = torch.tensor([[0.0, 3.0], [0.0, 1.0]])


def test_the_mean_square_runs_over_dimensions_and_samples() -> None:
    assert feature_mse(A, B).item() == pytest.approx((1 + 9 + 0 + 1) / 4)


def test_the_cosine_of_a_right_angle_and_of_none() -> None:
    assert feature_cosine(A, B).item() == pytest.approx((1 + 0) / 2)


@given(seed=st.integers(0, 99), factor=st.floats(0.1, 10))
def test_lengths_do_not_matter_to_the_cosine(seed: int, factor: float) -> None:
    a, b = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(seed))
    assert_close(feature_cosine(factor * a, b), feature_cosine(a, b))


@pytest.mark.parametrize("distance", [feature_mse, feature_cosine])
def test_half_precision_is_compared_in_float32(distance) -> None:
    found = distance(A.half(), B.half())
    assert found.dtype == torch.float32
    assert_close(found, distance(A, B))
