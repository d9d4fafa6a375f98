"""Weighted cross-entropy."""

import math

import torch
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.losses.supervised import cross_entropy


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes() -> None:
    loss = cross_entropy(torch.zeros(5, 4), torch.arange(5) % 4, torch.ones(5))
    assert_close(loss, torch.tensor(math.log(4)))


def test_equal_weights_give_the_plain_mean() -> None:
    logits, targets = torch.randn(7, 3), torch.arange(7) % 3
    loss = cross_entropy(logits, targets, torch.full((7,), 2.5))
    assert_close(loss, F.cross_entropy(logits, targets))


def test_class_weights_act_as_those_of_torch() -> None:
    logits, targets, weights = torch.randn(7, 3), torch.arange(7) % 3, torch.tensor([1.0, 5.0, 0.2])
    loss = cross_entropy(logits, targets, weights[targets])
    assert_close(loss, F.cross_entropy(logits, targets, weight=weights))


def test_a_sample_without_a_label_does_not_count() -> None:
    logits, targets = torch.randn(4, 3, requires_grad=True), torch.tensor([0, -1, 2, -1])
    loss = cross_entropy(logits, targets, torch.ones(4))
    loss.backward()
    assert_close(loss, F.cross_entropy(logits[[0, 2]], targets[[0, 2]]))
    assert not logits.grad[[1, 3]].any()


def test_a_batch_without_any_label_costs_0() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.full((4,), -1), torch.ones(4))
    loss.backward()
    assert loss == 0 and not logits.grad.any()


def test_half_precision_logits_are_judged_in_float32() -> None:
    logits = torch.randn(4, 3).bfloat16()
    assert cross_entropy(logits, torch.zeros(4, dtype=torch.long), torch.ones(4)).dtype is (
        torch.float32
    )
