"""Uncertainty weighting."""

import torch
from torch.testing import assert_close

from medistill.methods.uncertainty_weighting import UncertaintyWeighting
from tests.tiny import tiny_batch, tiny_student, tiny_tasks


def test_it_begins_as_half_the_sum_of_the_tasks_losses_and_then_weighs_them() -> None:
    batch, method = tiny_batch(), UncertaintyWeighting(tiny_student(), tiny_tasks()).eval()
    halves = method.losses(batch, 0.5)
    with torch.no_grad():
        method.log_variances[1].fill_(0.7)
    found = method.losses(batch, 0.5)
    assert_close(found["lung"], halves["lung"])
    loss = 2 * halves["breast"]
    expected = torch.exp(torch.tensor(-0.7)) * loss / 2 + 0.7 / 2
    assert_close(found["breast"], expected)


def test_a_variance_rests_where_its_exponential_is_the_loss() -> None:
    batch, method = tiny_batch(), UncertaintyWeighting(tiny_student(), tiny_tasks()).eval()
    loss = 2 * method.losses(batch, 0.5)["lung"].detach()
    with torch.no_grad():
        method.log_variances[0].copy_(loss.log())
    method.backward(method.losses(batch, 0.5))
    assert_close(method.log_variances[0].grad.item(), 0.0, atol=1e-6, rtol=0)


def test_the_variance_of_a_task_that_is_absent_does_not_drift() -> None:
    batch, method = tiny_batch(), UncertaintyWeighting(tiny_student(), tiny_tasks())
    batch.targets[batch.tasks == 1] = -1  # its samples have no label
    losses = method.losses(batch, 0.5)
    method.backward(losses)
    assert losses["breast"] == 0
    assert method.log_variances[1].grad is None and method.log_variances[0].grad is not None
