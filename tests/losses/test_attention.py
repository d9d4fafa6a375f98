"""Attention of maps: methods.md §2.3."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.losses.attention import attention, attention_distance


def repdistillers(s: torch.Tensor, t: torch.Tensor, power: float) -> torch.Tensor:
    """The formula as its users write it: all samples and places in one mean."""
    ours, theirs = (F.normalize(m.pow(power).mean(1).view(len(m), -1)) for m in (s, t))
    return (ours - theirs).pow(2).mean()


@pytest.mark.parametrize("power", [2.0, 4.0])
def test_the_mean_over_samples_is_the_reference(power: float) -> None:
    s, t = torch.randn(5, 3, 4, 6), torch.randn(5, 7, 4, 6)
    assert_close(attention_distance(s, t, power=power).mean(), repdistillers(s, t, power))


def test_a_single_bright_place_takes_all_the_attention() -> None:
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, :, 1, 0] = torch.tensor([3.0, -4.0])
    assert attention(maps).tolist() == [[0, 0, 1, 0]]
    elsewhere = maps.roll(1, 3)
    assert_close(attention_distance(maps, elsewhere), torch.tensor([0.5]))


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_neither_scale_nor_sign_nor_the_order_of_channels_matters(scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 5, 3, 3, generator=generator)
    order = torch.randperm(5, generator=generator)
    assert_close(attention(maps), attention(-scale * maps[:, order]))


def test_half_precision_is_computed_in_float32_and_volumes_are_no_surprise() -> None:
    maps = torch.rand(2, 4, 2, 3, 4).bfloat16()
    assert attention(maps).dtype == torch.float32
    assert attention(maps).shape == (2, 24)


def test_dead_maps_have_no_attention_and_a_finite_gradient() -> None:
    maps = torch.zeros(1, 2, 2, 2, requires_grad=True)
    attention_distance(maps, torch.rand(1, 2, 2, 2)).sum().backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
