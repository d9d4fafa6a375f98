"""CKA: its laws (methods.md §1.6, 1 to 5), and its estimates against those measured."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.losses.similarity import (
    _by_features,
    _by_samples,
    linear_cka,
    unbiased_linear_cka,
)

sizes = st.integers(2, 24)
seeds = st.integers(0, 999)


def features(rows: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rotation(width: int, seed: int) -> Tensor:
    return torch.linalg.qr(features(width, width, seed)).Q


def hsic_form(a: Tensor, b: Tensor) -> Tensor:
    """Equation 2 of methods.md §1.2, as it is written."""
    n = len(a)
    centring = torch.eye(n, dtype=a.dtype) - 1 / n

    def hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
        return torch.trace(k @ centring @ l @ centring) / (n - 1) ** 2

    k, l = a @ a.T, b @ b.T  # noqa: E741
    return hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt()


class TestLaws:
    """§1.6.1 and 2."""

    @settings(max_examples=30, deadline=None)
    @given(rows=st.integers(3, 24), width=sizes, seed=seeds, scale=st.floats(1e-3, 1e3))
    def test_cka_of_features_with_their_rotation_scaling_and_shift_is_1(
        self, rows: int, width: int, seed: int, scale: float
    ) -> None:
        a = features(rows, width, seed)
        shift = scale * features(1, width, seed + 1)
        for factor in (scale, -scale):
            moved = factor * a @ rotation(width, seed) + shift
            assert_close(linear_cka(a, moved), torch.tensor(1.0), atol=1e-5, rtol=0)

    def test_cka_of_features_with_themselves_is_1(self) -> None:
        a = features(32, 512)
        assert_close(linear_cka(a, a), torch.tensor(1.0), atol=1e-5, rtol=0)

    @settings(max_examples=30, deadline=None)
    @given(rows=st.integers(3, 24), width=sizes, other=sizes, seed=seeds)
    def test_cka_is_symmetric_and_between_0_and_1(
        self, rows: int, width: int, other: int, seed: int
    ) -> None:
        a, b = features(rows, width, seed), features(rows, other, seed + 1)
        assert -1e-5 <= linear_cka(a, b) <= 1 + 1e-5
        assert_close(linear_cka(a, b), linear_cka(b, a), atol=1e-6, rtol=1e-5)

    @settings(max_examples=30, deadline=None)
    @given(rows=st.integers(3, 24), width=sizes, other=sizes, seed=seeds)
    def test_the_form_over_samples_equals_the_form_over_features(
        self, rows: int, width: int, other: int, seed: int
    ) -> None:
        a = features(rows, width, seed, torch.float64)
        b = features(rows, other, seed + 1, torch.float64)
        a, b = a - a.mean(0), b - b.mean(0)
        (cross, own), (cross_too, own_too) = _by_samples(a, b), _by_features(a, b)
        assert_close(cross / own, cross_too / own_too, rtol=1e-6, atol=1e-12)

    @settings(max_examples=30, deadline=None)
    @given(rows=st.integers(3, 24), width=sizes, other=sizes, seed=seeds)
    def test_cka_equals_its_definition_by_hsic(
        self, rows: int, width: int, other: int, seed: int
    ) -> None:
        a = features(rows, width, seed, torch.float64)
        b = features(rows, other, seed + 1, torch.float64)
        assert_close(linear_cka(a, b), hsic_form(a, b), rtol=1e-6, atol=1e-9)

    def test_a_general_invertible_map_changes_cka(self) -> None:
        """§1.6.3."""
        a = features(40, 6)
        ill_conditioned = torch.diag(torch.logspace(0, 3, 6))
        assert linear_cka(a, a @ ill_conditioned) < 0.9


class TestByHand:
    """§1.6.4."""

    def test_orthogonal_centred_features_have_nothing_in_common(self) -> None:
        u, v = torch.tensor([[1.0], [-1.0], [0.0]]), torch.tensor([[1.0], [1.0], [-2.0]])
        assert_close(linear_cka(u, v), torch.tensor(0.0))

    def test_one_dimensional_features_give_their_squared_correlation(self) -> None:
        u, v = torch.tensor([[1.0], [-1.0], [0.0]]), torch.tensor([[1.0], [0.0], [-1.0]])
        assert_close(linear_cka(u, v), torch.tensor(0.25))

    @pytest.mark.parametrize("similarity", [linear_cka, unbiased_linear_cka])
    def test_balanced_one_hot_labels_with_themselves_give_1(self, similarity) -> None:
        labels = F.one_hot(torch.arange(12) % 3, 3).float()
        assert_close(similarity(labels, labels), torch.tensor(1.0), atol=1e-5, rtol=0)


class TestEstimates:
    """§1.6.5: the table of §1.3."""

    @pytest.mark.parametrize(
        ("rows", "width", "other", "measured"),
        [
            (8, 512, 512, 0.985),
            (32, 64, 64, 0.674),
            (32, 512, 512, 0.941),
            (32, 2048, 512, 0.963),
            (128, 512, 512, 0.800),
            (512, 512, 512, 0.500),
        ],
    )
    def test_cka_of_unrelated_features_is_far_from_0_in_small_batches(
        self, rows: int, width: int, other: int, measured: float
    ) -> None:
        draws = [
            linear_cka(features(rows, width, seed), features(rows, other, 50 + seed))
            for seed in range(5)
        ]
        assert abs(torch.stack(draws).mean() - measured) < 0.02

    @pytest.mark.parametrize(("rows", "width"), [(32, 64), (32, 512), (128, 256)])
    def test_the_unbiased_estimate_of_unrelated_features_is_near_0_on_average(
        self, rows: int, width: int
    ) -> None:
        draws = [
            unbiased_linear_cka(features(rows, width, seed), features(rows, width, 500 + seed))
            for seed in range(200)
        ]
        assert abs(torch.stack(draws).mean()) < 0.02

    def test_hsic_without_bias_equals_the_mean_over_distinct_quadruples(self) -> None:
        """Song et al., equation 4, summed naively."""
        from itertools import permutations

        from medistill.losses.similarity import unbiased_hsic

        a, b = features(7, 3, 1, torch.float64), features(7, 2, 2, torch.float64)
        k, l = a @ a.T, b @ b.T  # noqa: E741
        terms = [
            k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in permutations(range(7), 4)
        ]
        assert_close(unbiased_hsic(k, l), torch.stack(terms).mean())

    @settings(max_examples=20, deadline=None)
    @given(rows=st.integers(8, 24), width=sizes, seed=seeds)
    def test_the_unbiased_estimate_is_unmoved_by_rotation_scaling_and_shift(
        self, rows: int, width: int, seed: int
    ) -> None:
        a, b = features(rows, width, seed), features(rows, 5, seed + 1)
        moved = 30 * a @ rotation(width, seed) + 4
        assert_close(unbiased_linear_cka(a, b), unbiased_linear_cka(moved, b), atol=1e-3, rtol=1e-3)

    def test_the_unbiased_estimate_of_fewer_than_8_samples_teaches_nothing(self) -> None:
        a = features(7, 3).requires_grad_()
        similarity = unbiased_linear_cka(a, features(7, 3, 1))
        assert similarity == 1 and not similarity.requires_grad


@pytest.mark.parametrize("similarity", [linear_cka, unbiased_linear_cka])
class TestEdges:
    def test_constant_features_give_0_and_a_finite_gradient(self, similarity) -> None:
        constant = torch.full((9, 5), 3.3).requires_grad_()
        value = similarity(constant, features(9, 4))
        value.backward()
        assert value == 0 and constant.grad.isfinite().all()
        assert similarity(constant, constant) == 0

    def test_tiny_and_huge_features_are_judged_alike(self, similarity) -> None:
        a, b = features(16, 8), features(16, 6, 1)
        for scale in (1e-12, 1e12):
            assert_close(similarity(scale * a, b), similarity(a, b), atol=1e-4, rtol=1e-3)

    def test_a_large_mean_hides_nothing(self, similarity) -> None:
        a, b = features(16, 8), features(16, 6, 1)
        # 1e-2: the shift leaves some four of float32's seven digits
        assert_close(similarity(a + 1e3, b), similarity(a, b), atol=1e-2, rtol=0)

    def test_autocast_changes_nothing(self, similarity) -> None:
        a, b = features(16, 32), features(16, 6, 1)
        with torch.autocast("cpu", torch.bfloat16):
            inside = similarity(a, b)
        assert torch.equal(inside, similarity(a, b))

    def test_half_precision_features_are_compared_in_float32(self, similarity) -> None:
        a, b = features(16, 32).bfloat16(), features(16, 6, 1).bfloat16()
        assert_close(similarity(a, b), similarity(a.float(), b.float()), rtol=0, atol=0)

    def test_its_gradient_is_that_of_finite_differences(self, similarity) -> None:
        a = features(9, 3, 1, torch.float64).requires_grad_()
        b = features(9, 12, 2, torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(similarity, (a, b))


def test_rows_must_be_the_same_samples() -> None:
    with pytest.raises(Exception, match=r"width_a|batch|Float"):
        linear_cka(features(8, 3), features(9, 3))
