"""The Gaussian bound of VID: methods.md §2.4."""

import math

import torch
from torch.distributions import Normal
from torch.testing import assert_close

from medistill.losses.variational import gaussian_surprise


def test_it_is_the_negative_log_likelihood_without_its_constant() -> None:
    mean, wanted = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    variance = torch.tensor([0.5, 1.0, 3.0])
    normal = Normal(mean, variance.sqrt().view(3, 1, 1))
    expected = -normal.log_prob(wanted) - 0.5 * math.log(2 * math.pi)
    assert_close(gaussian_surprise(mean, wanted, variance), expected.flatten(1).mean(1))


def test_its_least_is_where_the_variance_is_the_squared_error() -> None:
    error = 0.3
    wanted, variances = torch.randn(1, 1, 8, 8), torch.linspace(0.05, 0.15, 101)
    found = torch.stack(
        [gaussian_surprise(wanted + error, wanted, v.view(1)).mean() for v in variances]
    )
    assert_close(variances[found.argmin()], torch.tensor(error**2))
    assert_close(found.min(), torch.tensor(0.5 * (1 + math.log(error**2))))
    assert found.min() < 0


def test_volumes_and_half_precision_are_no_surprise() -> None:
    mean = torch.rand(2, 3, 2, 2, 2).bfloat16()
    found = gaussian_surprise(mean, mean, torch.ones(3))
    assert found.dtype == torch.float32
    assert_close(found, torch.zeros(2))
