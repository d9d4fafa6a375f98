"""Similarities between the samples of a batch: methods.md §2.10."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from medistill.losses.relation import similarity_distance
from medistill.losses.similarity import linear_cka


def test_the_formula_written_sample_by_sample() -> None:
    a, b = torch.randn(4, 6), torch.randn(4, 3)
    total = 0.0
    for i in range(4):
        ours, theirs = a @ a[i], b @ b[i]
        total += ((ours / ours.norm() - theirs / theirs.norm()) ** 2).sum()
    assert_close(similarity_distance(a, b), torch.as_tensor(total) / 4**2)


@given(scale=st.floats(1e-2, 1e2), seed=st.integers(0, 99))
def test_scale_and_rotation_change_nothing(scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(5, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64)).Q
    assert_close(similarity_distance(scale * a @ rotation, b), similarity_distance(a, b))
    assert similarity_distance(a, scale * a @ rotation) < 1e-12


def test_unlike_cka_it_is_not_centred() -> None:
    a = torch.randn(6, 4)
    assert_close(linear_cka(a, a + 5), torch.tensor(1.0))
    assert similarity_distance(a, a + 5) > 0.01


def test_orthogonal_samples_and_identical_ones_are_as_far_apart_as_they_should_be() -> None:
    orthogonal, identical = torch.eye(4), torch.ones(4, 2)
    # Rows (1, 0, 0, 0) against (1, 1, 1, 1) / 2: each 1 - 2 / 2 + 1 = 1, over 4 x 4 entries
    assert_close(similarity_distance(orthogonal, identical), torch.tensor(0.25))


def test_half_precision_is_computed_in_float32_even_under_autocast() -> None:
    a, b = torch.randn(5, 700), torch.randn(5, 300)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(similarity_distance(a, b), similarity_distance(a.double(), b.double()).float())
    assert similarity_distance(a.bfloat16(), b.bfloat16()).dtype == torch.float32
