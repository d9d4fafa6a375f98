"""Softened KL and its halves, and decorrelation: methods.md §1.6.9, §2.1, §2.11 and §2.12."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from medistill.losses.divergence import decorrelation, decoupled_kl, feature_kl, softened_kl


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


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestHalves:
    """§2.11."""

    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 999), temperature=st.floats(0.5, 20.0), classes=st.integers(2, 9))
    def test_of_each_sample_they_make_up_the_whole(
        self, seed: int, temperature: float, classes: int
    ) -> None:
        logits, wanted = 3 * draw(seed, 2, 1, classes)
        targets = torch.tensor([seed % classes])
        target, others = decoupled_kl(logits, wanted, targets, temperature)
        certainty = (wanted / temperature).softmax(1)[0, targets[0]]
        whole = softened_kl(logits, wanted, temperature)
        assert_close(target + (1 - certainty) * others, whole)

    def test_they_equal_the_definition_with_a_masked_target(self) -> None:
        logits, wanted, targets = *draw(1, 2, 5, 4), torch.tensor([3, 0, 1, 1, 2])
        mask = 1000 * torch.nn.functional.one_hot(targets, 4)
        first, second = [], []
        for i, target in enumerate(targets):
            p, q = (wanted[i] / 4).softmax(0), (logits[i] / 4).softmax(0)
            b, c = (torch.stack([each[target], 1 - each[target]]) for each in (p, q))
            first.append(16 * (b * (b / c).log()).sum())
            p, q = ((each[i] / 4 - mask[i]).softmax(0) for each in (wanted, logits))
            terms = p * (p / q).log()
            second.append(16 * terms[torch.arange(4) != target].sum())
        found = decoupled_kl(logits, wanted, targets, 4.0)
        assert_close(torch.stack(found), torch.stack([sum(first), sum(second)]) / 5)

    def test_of_two_classes_the_others_say_nothing_and_teach_nothing(self) -> None:
        logits = draw(0, 6, 2).requires_grad_()
        _, others = decoupled_kl(logits, draw(1, 6, 2), torch.arange(6) % 2, 4.0)
        others.backward()
        assert others == 0 and not logits.grad.any()

    def test_a_sample_without_a_label_does_not_count(self) -> None:
        logits, wanted, targets = *draw(2, 2, 6, 3), torch.tensor([0, -1, 2, 1, -1, 0])
        kept = targets >= 0
        expected = decoupled_kl(logits[kept], wanted[kept], targets[kept], 4.0)
        assert_close(decoupled_kl(logits, wanted, targets, 4.0), expected)
        none = decoupled_kl(logits, wanted, torch.full_like(targets, -1), 4.0)
        assert none == (0, 0)

    def test_a_teacher_that_is_quite_sure_gives_no_infinity(self) -> None:
        logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
        losses = decoupled_kl(logits, -logits.detach(), torch.tensor([0]), 1.0)
        (gradient,) = torch.autograd.grad(sum(losses), logits)
        assert all(loss.isfinite() for loss in losses) and gradient.isfinite().all()


class TestFeatures:
    """§4.6."""

    def test_they_are_compared_as_classes_are(self) -> None:
        features, wanted = draw(0, 2, 5, 7)
        assert_close(feature_kl(features, wanted, 3.0), softened_kl(features, wanted, 3.0))

    def test_a_constant_offset_of_a_sample_is_not_seen(self) -> None:
        features, wanted = draw(0, 2, 5, 7)
        moved = features + draw(1, 5, 1)
        assert_close(feature_kl(moved, wanted), feature_kl(features, wanted))

    def test_at_its_temperature_it_is_half_the_variance_of_the_difference(self) -> None:
        features, wanted = 0.3 * draw(0, 2, 5, 400)
        half = (features - wanted).var(1, correction=0).mean() / 2
        # The next term of the expansion is a tenth of the first over the temperature.
        assert_close(feature_kl(features, wanted), half, atol=0, rtol=0.02)


class TestDecorrelation:
    """§2.12."""

    def test_it_is_one_minus_the_mean_of_numpys_coefficients(self) -> None:
        a, b = draw(0, 2, 7, 4).softmax(2)
        rows = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.numpy(), b.numpy(), strict=True)]
        # eps, added to the product of norms, moves a coefficient by 1e-6 at the most.
        assert_close(decorrelation(a, b).item(), 1 - np.mean(rows), atol=1e-6, rtol=0)

    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 999), factor=st.floats(0.1, 10), shift=st.floats(-5, 5))
    def test_rows_and_columns_are_blind_to_one_scale_and_shift(
        self, seed: int, factor: float, shift: float
    ) -> None:
        wanted = draw(seed, 6, 5)
        moved = factor * wanted + shift
        assert_close(decorrelation(moved, wanted).item(), 0.0, atol=1e-5, rtol=0)
        assert_close(decorrelation(moved.T, wanted.T).item(), 0.0, atol=1e-5, rtol=0)

    def test_rows_alone_are_blind_to_a_scale_of_each_row(self) -> None:
        wanted = draw(0, 6, 5)
        moved = torch.linspace(0.1, 3, 6, dtype=torch.float64)[:, None] * wanted
        assert decorrelation(moved, wanted) < 1e-6
        assert decorrelation(moved.T, wanted.T) > 0.01

    def test_rows_are_centred_where_a_plain_cosine_sees_no_difference(self) -> None:
        a, b = (0.05 * draw(0, 2, 64, 5)).softmax(2)
        assert torch.cosine_similarity(a, b).mean() > 0.99
        assert decorrelation(a, b) > 0.5

    def test_rows_of_two_only_agree_or_disagree(self) -> None:
        a = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], dtype=torch.float64)
        b = torch.tensor([[0.6, 0.4], [0.1, 0.9], [0.7, 0.3]], dtype=torch.float64)
        assert_close(decorrelation(a, b).item(), 1 - 1 / 3, atol=1e-6, rtol=0)

    def test_a_single_sample_has_no_columns_to_correlate_and_no_gradient(self) -> None:
        a = draw(0, 1, 4).requires_grad_()
        loss = decorrelation(a.T, draw(1, 1, 4).T)
        loss.backward()
        assert loss == 1 and not a.grad.any()
