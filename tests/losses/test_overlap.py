"""Losses between masks: values to check by hand, and the laws of methods.md §4.9."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from medistill.losses.overlap import (
    bce_with_dice,
    bernoulli_kl,
    dice_loss,
    literal_divergence,
)

logits_of = st.lists(st.floats(-30, 30), min_size=8, max_size=8)


def volume(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 2, 2, 2)


def logit(share: float) -> Tensor:
    return torch.tensor(share, dtype=torch.float64).logit().view(1, 1, 1, 1, 1)


def masks(*shape: int) -> Tensor:
    return torch.randint(0, 2, shape, dtype=torch.uint8)


def test_the_dice_loss_of_a_perfect_prediction_is_zero() -> None:
    truth = masks(2, 3, 4, 4, 4).float()
    assert_close(dice_loss(truth, truth), torch.zeros(2, 3))


def test_squared_denominators_make_it_zero_for_equal_fractions_too() -> None:
    shares = torch.rand(2, 3, 4, 4, 4)
    assert_close(dice_loss(shares, shares), torch.zeros(2, 3), atol=1e-6, rtol=0)


def test_the_dice_loss_of_half_overlap_is_a_half() -> None:
    shares, truth = torch.zeros(1, 1, 4, 1, 1), torch.zeros(1, 1, 4, 1, 1)
    shares[0, 0, :2], truth[0, 0, 1:3] = 1, 1
    assert_close(dice_loss(shares, truth), torch.full((1, 1), 0.5))


def test_nothing_found_where_there_is_nothing_costs_nothing() -> None:
    found = bce_with_dice(torch.full((1, 1, 2, 2, 2), -60.0), torch.zeros(1, 1, 2, 2, 2).byte())
    assert_close(found, torch.zeros(1, 1))


def test_little_found_where_there_is_nothing_costs_nearly_a_whole_dice() -> None:
    found = dice_loss(torch.full((1, 1, 2, 2, 2), 0.01), torch.zeros(1, 1, 2, 2, 2))
    assert found.item() > 0.99


def test_the_cross_entropy_part_is_that_of_a_formula_written_naively() -> None:
    logits, truth = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64), masks(2, 3, 4, 4, 4)
    p, s = logits.sigmoid(), truth.double()
    entropy = -(s * p.log() + (1 - s) * (1 - p).log()).mean((2, 3, 4))
    overlap = 1 - 2 * (p * s).sum((2, 3, 4)) / (p**2 + s**2).sum((2, 3, 4))
    assert_close(bce_with_dice(logits, truth), entropy + overlap, atol=1e-7, rtol=1e-7)


def test_queries_in_another_order_give_the_same_losses_in_that_order() -> None:
    logits, truth, order = torch.randn(2, 3, 4, 4, 4), masks(2, 3, 4, 4, 4), [2, 0, 1]
    assert_close(bce_with_dice(logits, truth)[:, order],
                 bce_with_dice(logits[:, order], truth[:, order]))  # fmt: skip


def test_pooled_over_one_query_it_is_the_dice_of_that_query() -> None:
    shares, truth = torch.rand(1, 2, 4, 4, 4), masks(1, 2, 4, 4, 4).float()
    first = torch.tensor([[True, False]])
    pooled = dice_loss(shares, truth, pooled_over=first)
    assert_close(pooled, dice_loss(shares, truth)[:, :1].expand(1, 2))


def test_pooled_over_all_queries_a_small_organ_hardly_counts() -> None:
    truth = torch.zeros(1, 2, 10, 10, 1)
    truth[0, 0, :9], truth[0, 1, 9, 0] = 1, 1
    missed = truth.clone()
    missed[0, 1] = 0
    both = torch.ones(1, 2, dtype=torch.bool)
    assert dice_loss(missed, truth).mean().item() == pytest.approx(0.5)
    assert dice_loss(missed, truth, pooled_over=both).mean().item() < 0.01


@given(logits_of, logits_of)
def test_the_bernoulli_divergence_is_never_negative(own: list[float], wanted: list[float]) -> None:
    assert bernoulli_kl(volume(own), volume(wanted)).item() >= -1e-12


def test_nor_where_both_are_certain() -> None:
    own, wanted = [0.0] * 5 + [21.0, 0.0, 0.0], [0.0] * 5 + [22.0, 0.0, 0.0]
    assert 0 < bernoulli_kl(volume(own), volume(wanted)).item() < 1e-9


@given(logits_of)
def test_and_zero_at_equality(own: list[float]) -> None:
    assert_close(bernoulli_kl(volume(own), volume(own)).item(), 0.0)


def test_it_is_the_divergence_of_a_formula_written_naively() -> None:
    own, wanted = torch.randn(2, 2, 2, 3, 2, 3, dtype=torch.float64).unbind(0)
    q, p = own.sigmoid(), wanted.sigmoid()
    naive = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    assert_close(bernoulli_kl(own, wanted), naive.mean((2, 3, 4)))


def test_the_literal_form_is_negative_where_a_divergence_cannot_be() -> None:
    found = literal_divergence(logit(0.9), logit(0.1))
    assert found.item() == pytest.approx(-0.2197, abs=1e-4)


def test_the_literal_form_pushes_every_probability_up() -> None:
    own = torch.randn(1, 1, 2, 2, 2, requires_grad=True)
    literal_divergence(own, torch.randn(1, 1, 2, 2, 2)).sum().backward()
    assert own.grad is not None
    assert (own.grad < 0).all()


def test_losses_of_half_precision_are_computed_in_float32() -> None:
    logits, truth = torch.randn(1, 1, 4, 4, 4).bfloat16(), masks(1, 1, 4, 4, 4)
    assert bce_with_dice(logits, truth).dtype == torch.float32
    assert bernoulli_kl(logits, logits).dtype == torch.float32
