"""CKA between networks and the pairing-free similarity of tasks: methods.md §6 and §1.3."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from medistill.analysis.similarity import cka_matrix, covariance_similarity
from medistill.losses.similarity import unbiased_linear_cka

seeds = st.integers(0, 999)


def features(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def rotation(width: int, seed: int) -> Tensor:
    return torch.linalg.qr(features(width, width, seed)).Q


class TestCka:
    @settings(max_examples=20, deadline=None)
    @given(rows=st.integers(16, 80), batch=st.integers(1, 40), seed=seeds)
    def test_matrix_is_symmetric_with_a_unit_diagonal(
        self, rows: int, batch: int, seed: int
    ) -> None:
        several = [features(rows, width, seed + width) for width in (3, 16, 40)]
        found = cka_matrix(several, batch_size=batch, seed=seed)
        assert_close(found, found.T)
        assert_close(found.diagonal(), torch.ones(3))

    def test_networks_that_differ_by_a_rotation_a_scale_and_a_shift_are_one(self) -> None:
        a = features(50, 8)
        moved = -30 * a @ rotation(8, 1) + features(1, 8, 2)
        assert_close(cka_matrix([a, moved], batch_size=20), torch.ones(2, 2))

    def test_in_one_batch_it_is_the_unbiased_cka_of_all_images(self) -> None:
        a, b = features(60, 12), features(60, 12) + features(60, 12, 1)
        found = cka_matrix([a, b], batch_size=60)
        assert_close(found[0, 1], unbiased_linear_cka(a, b))

    def test_unrelated_features_are_near_0_at_any_width(self) -> None:
        # Biased CKA of these is 0.8; 6 pairs have a standard error of some 0.005.
        found = cka_matrix([features(512, 512, seed) for seed in range(4)], batch_size=128)
        assert abs(found[~torch.eye(4, dtype=torch.bool)]).max() < 0.02

    def test_size_of_the_batches_does_not_move_the_result(self) -> None:
        shared = features(600, 16)
        a, b = shared @ rotation(16, 3)[:, :8], shared + 0.5 * features(600, 16, 4)
        small, whole = (cka_matrix([a, b], batch_size=size)[0, 1].item() for size in (30, 600))
        assert small == pytest.approx(whole, abs=0.02)  # sampling error of 20 batches

    def test_images_sorted_by_class_are_mixed_before_they_are_batched(self) -> None:
        # All the geometry lies between the classes: a batch of one class would see none of it.
        classes = torch.eye(4).repeat_interleave(50, 0)
        a, b = (5 * classes @ features(4, 6, seed) for seed in (1, 2))
        noisy = [each + 0.1 * features(200, 6, seed) for seed, each in enumerate((a, b))]
        found, whole = (cka_matrix(noisy, batch_size=size)[0, 1].item() for size in (50, 200))
        assert found > 0.3
        assert found == pytest.approx(whole, abs=0.02)  # of 4 batches

    def test_constant_features_are_like_nothing(self) -> None:
        found = cka_matrix([features(20, 4), torch.full((20, 4), 7.3)])
        assert found[0, 1] == found[1, 1] == 0
        assert found.isfinite().all()

    @pytest.mark.parametrize("rows", [(20, 21), (7, 7)])
    def test_other_or_too_few_samples_are_refused(self, rows: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="CKA needs the same 8"):
            cka_matrix([features(count, 4) for count in rows])


class TestCovariance:
    @settings(max_examples=20, deadline=None)
    @given(seed=seeds, scale=st.floats(0.01, 100))
    def test_tasks_with_one_covariance_are_one_wherever_they_lie(
        self, seed: int, scale: float
    ) -> None:
        a = features(30, 5, seed)
        moved = scale * a.flip(0) + 3
        found = covariance_similarity([a, moved, features(40, 5, seed + 1)])
        assert_close(found[0, 1], torch.tensor(1.0))
        assert_close(found, found.T)
        assert_close(found.diagonal(), torch.ones(3))

    def test_tasks_that_vary_along_other_directions_are_apart(self) -> None:
        a, b = torch.zeros(10, 4), torch.zeros(12, 4)
        a[:, 0], b[:, 2] = torch.arange(10.0), torch.arange(12.0)
        assert covariance_similarity([a, b])[0, 1] == 0

    def test_half_of_the_directions_in_common_is_a_half(self) -> None:
        # Covariances diag(1, 1, 0) and diag(0, 1, 1), up to scale.
        corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
        nil = torch.zeros(4, 1)
        found = covariance_similarity([torch.cat([corners, nil], 1), torch.cat([nil, corners], 1)])
        assert_close(found[0, 1], torch.tensor(0.5))
