"""Softened KL: methods.md §1.6.9 and §2.1."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from medistill.losses.divergence import softened_kl


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), temperature=st.floats(0.5, 20), classes=st.integers(2, 9))
def test_it_is_0_for_equal_logits_and_never_negative(
    seed: int, temperature: float, classes: int
) -> None:
    logits, wanted = torch.randn(2, 5, classes, generator=torch.Generator().manual_seed(seed))
    assert softened_kl(logits, logits, temperature) == 0
    assert softened_kl(logits, wanted, temperature) > -1e-6


def test_it_equals_its_definition_with_the_wanted_classes_as_reference() -> None:
    logits, wanted = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, -1.0]])
    p, q = (wanted / 2).softmax(1), (logits / 2).softmax(1)
    assert_close(softened_kl(logits, wanted, 2.0), 4 * (p * (p / q).log()).sum())


@pytest.mark.parametrize(("temperature", "above"), [(4.0, 0.13), (10.0, 0.05), (1000.0, 0.0005)])
def test_at_high_temperature_it_tends_to_the_squared_difference_of_centred_logits(
    temperature: float, above: float
) -> None:
    """Unit-scale ReLU vectors of 64 classes exceed the limit by the measured shares."""
    logits, wanted = torch.randn(2, 4096, 64, dtype=torch.float64).relu()
    difference = logits - wanted
    centred = difference - difference.mean(1, keepdim=True)
    limit = centred.square().sum(1).mean() / (2 * 64)
    excess = (softened_kl(logits, wanted, temperature) / limit - 1).abs()
    assert_close(excess.item(), above, atol=0.2 * above + 1e-4, rtol=0)


def test_its_gradient_is_the_difference_of_softened_classes_times_the_temperature() -> None:
    logits = torch.randn(6, 4, requires_grad=True)
    wanted, temperature = torch.randn(6, 4), 4.0
    softened_kl(logits, wanted, temperature).backward()
    softened = (logits / temperature).softmax(1) - (wanted / temperature).softmax(1)
    assert_close(logits.grad, temperature * softened.detach() / 6, atol=1e-6, rtol=1e-4)


def test_half_precision_logits_are_compared_in_float32() -> None:
    logits, wanted = torch.randn(2, 5, 3).bfloat16()
    loss = softened_kl(logits, wanted, 4.0)
    assert_close(loss, softened_kl(logits.float(), wanted.float(), 4.0), rtol=0, atol=0)


def test_extreme_logits_give_no_infinity() -> None:
    logits, wanted = torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])
    assert softened_kl(logits, wanted, 1.0).isfinite()
