"""The U-Net of any plan: its sides, its maps, and where its numbers begin."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medistill.models.segmenters._unet3d import SLOPE, Layer, Plan, UNet3d, triples

SIDES = st.tuples(*[st.integers(1, 2)] * 3)
ODD = st.tuples(*[st.sampled_from([1, 3])] * 3)


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, Any]:
    stages = draw(st.integers(2, 3))
    several: Any = st.lists
    return {  # beartype draws numbers itself, which a strategy must not
        "inputs": draw(st.integers(1, 2)),
        "widths": tuple(draw(several(st.integers(1, 3), min_size=stages, max_size=stages))),
        "convs": draw(st.integers(1, 2)),
        "strides": tuple(draw(several(SIDES, min_size=stages, max_size=stages))),
        "kernels": tuple(draw(several(ODD, min_size=stages, max_size=stages))),
    }


def small(**changes: Any) -> Plan:
    known = {"inputs": 1, "widths": (2, 3), "convs": 1}
    known |= {"strides": triples([1, 2]), "kernels": triples([3, 3])}
    return Plan(**{**known, **changes})


@settings(max_examples=15, deadline=None)
@given(shapes())
def test_every_plan_ends_at_the_grid_of_its_first_stage(shape: dict[str, Any]) -> None:
    plan = Plan(**shape)
    sides = [2 * step for step in plan.stride]  # an instance norm needs more than a voxel
    maps, voxels = UNet3d(plan)(torch.randn(1, plan.inputs, *sides))
    assert [each.shape[1] for each in maps] == list(plan.widths)
    assert maps[-1].shape[2:] == (2, 2, 2)
    for map_, stride, finer in zip(maps, plan.strides, [sides, *maps], strict=False):
        before = finer if isinstance(finer, list) else finer.shape[2:]
        assert list(map_.shape[2:]) == [a // b for a, b in zip(before, stride, strict=True)]
    assert voxels.shape == (1, plan.widths[0], *maps[0].shape[2:])


@settings(max_examples=15, deadline=None)
@given(shapes())
def test_the_stride_of_a_plan_is_the_product_along_each_axis(shape: dict[str, Any]) -> None:
    plan = Plan(**shape)
    for axis, whole in enumerate(plan.stride):
        assert whole == math.prod(stride[axis] for stride in plan.strides)


def test_one_number_stands_for_three_alike() -> None:
    assert triples([1, [1, 2, 3], (2, 2, 1)]) == ((1, 1, 1), (1, 2, 3), (2, 2, 1))
    with pytest.raises(ValueError, match="unpack"):
        triples([[1, 2]])


def test_a_layer_is_a_convolution_an_instance_norm_and_a_leaky_rectifier() -> None:
    layer, images = Layer(2, 3, (3, 1, 3), (1, 2, 1)), torch.randn(2, 2, 4, 4, 4)
    convolved = nn.functional.conv3d(
        images, layer.conv.weight, layer.conv.bias, stride=(1, 2, 1), padding=(1, 0, 1)
    )
    flat = convolved.flatten(2)
    normed = (flat - flat.mean(2, keepdim=True)) / (
        flat.var(2, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    expected = torch.where(normed > 0, normed, 0.01 * normed).view_as(convolved)
    torch.testing.assert_close(layer(images), expected)


def test_a_voxel_sees_the_finest_map_and_through_it_the_coarsest() -> None:
    network, images = UNet3d(small()), torch.randn(1, 1, 8, 8, 8)
    maps, voxels = network(images)
    upsampled = network.ups[0](maps[1])
    torch.testing.assert_close(voxels, network.decoder[0](torch.cat([upsampled, maps[0]], dim=1)))


def test_convolutions_begin_at_the_scale_of_he_and_their_biases_at_zero() -> None:
    network = UNet3d(small(widths=(40, 48)))
    conv = network.encoder[1][0].conv
    expected = math.sqrt(2 / (1 + SLOPE**2) / (40 * 27))
    assert conv.weight.std().item() == pytest.approx(expected, rel=0.05)  # of 51840 numbers
    assert not any(bias.any() for name, bias in network.named_parameters() if "conv.bias" in name)


def test_samples_of_a_batch_do_not_meet() -> None:
    network, images = UNet3d(small()), torch.randn(3, 1, 4, 4, 4)
    together = network(images)[1]
    for sample in range(3):
        alone = network(images[sample : sample + 1])[1]
        torch.testing.assert_close(together[sample : sample + 1], alone)
