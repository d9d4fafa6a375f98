"""What features tell: methods.md §5, KF."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.losses.information import infomax, infomin, released_infomax


def two(rows: int = 6, width: int = 5) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, width), torch.randn(rows, width)


class TestInfomax:
    def test_it_is_the_contrast_of_own_pairs_with_all_others(self) -> None:
        a, b = two()
        cosines = F.cosine_similarity(a[:, None], b[None], dim=2)
        others = torch.stack([cosines[i, j] for i in range(6) for j in range(6) if i != j])
        assert_close(infomax(a, b), others.exp().mean().log() - cosines.diagonal().mean())

    def test_the_released_form_takes_both_means_over_all_pairs(self) -> None:
        a, b = two()
        cosines = F.cosine_similarity(b[:, None], a[None], dim=2)
        eye = torch.eye(6)
        expected = -((cosines * eye).mean() - (cosines * (1 - eye)).exp().mean().log())
        assert_close(released_infomax(a, b), expected)

    def test_own_pairs_that_agree_are_better_than_crossed_ones(self) -> None:
        a, _ = two()
        assert infomax(a, a) < infomax(a, a.roll(1, 0))
        assert released_infomax(a, a) < released_infomax(a, a.roll(1, 0))

    def test_lengths_do_not_matter(self) -> None:
        a, b = two()
        assert_close(infomax(3 * a, b), infomax(a, b))

    def test_a_single_sample_has_nothing_to_be_told_from(self) -> None:
        a = torch.randn(1, 5, requires_grad=True)
        loss = infomax(a, torch.randn(1, 5))
        loss.backward()
        assert loss == 0 and not a.grad.any()

    @pytest.mark.parametrize("loss", [infomax, released_infomax])
    def test_half_precision_is_compared_in_float32(self, loss) -> None:
        a, b = two()
        assert loss(a.bfloat16(), b).dtype == torch.float32


class TestInfomin:
    def test_it_is_the_divergence_of_a_normal_from_the_standard_one(self) -> None:
        features = torch.tensor([2.0, 0.5]) + torch.tensor([0.3, 1.5]) * torch.randn(50, 2)
        normal = Normal(features.mean(0), features.std(0))
        expected = kl_divergence(normal, Normal(0, 1)).mean()
        # eps in the logarithm: 1e-5 beside a variance of 0.1
        assert_close(infomin(features), expected, atol=1e-3, rtol=0)

    def test_a_dimension_that_never_varies_is_finite_with_its_gradient(self) -> None:
        features = torch.zeros(4, 3, requires_grad=True)
        loss = infomin(features)
        loss.backward()
        assert loss.isfinite() and features.grad.isfinite().all()

    def test_a_single_sample_has_no_variance(self) -> None:
        assert infomin(torch.randn(1, 3)) == 0
