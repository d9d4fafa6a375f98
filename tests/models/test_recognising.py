"""Whose weights a file holds is told by its tensors, whatever they are called by wrappers."""

from collections.abc import Mapping
from functools import cache

import pytest
import torch
from torch import Tensor

from medistill.models.backbones.base import Backbone, build_backbone
from medistill.models.recognising import match_library, recognised

State = dict[str, Tensor]


@cache
def built(name: str) -> Backbone:
    """Of shapes alone."""
    with torch.device("meta"):
        return build_backbone(name)


def state_of(name: str, prefix: str = "") -> State:
    return {prefix + key: tensor for key, tensor in built(name).network.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "prefix"), [("torchvision/resnet18", "backbone.model."), ("torchvision/resnet34", "")]
)
def test_a_common_backbone_is_recognised_under_any_wrapper(name: str, prefix: str) -> None:
    head = {f"{prefix}fc.weight": torch.zeros(3, 1)}
    assert recognised({**state_of(name, prefix), **head}) == f"Is this {name}?"


@pytest.mark.parametrize("head", ["fc.weight", "classifier.3.bias", "head.weight", "aux1.conv.x"])
def test_a_head_beside_the_encoder_is_no_complaint(head: str) -> None:
    backbone = built("torchvision/resnet18")
    state = state_of("torchvision/resnet18", "encoder.")
    assert not match_library(backbone, {**state, f"encoder.{head}": torch.zeros(1)}).complaints


@pytest.mark.parametrize("key", ["fcx.weight", "layer5.0.weight", "heads.weight"])
def test_what_a_network_does_not_have_is_told_unless_it_stands_beside_the_wrapper(key: str) -> None:
    backbone = built("torchvision/resnet18")
    state = state_of("torchvision/resnet18", "encoder.")
    inside = match_library(backbone, {**state, f"encoder.{key}": torch.zeros(1)})
    assert inside.complaints == [f"{key} is not in torchvision/resnet18"]
    beside = match_library(backbone, {**state, f"optimizer.{key}": torch.zeros(1)})
    assert not beside.complaints
    assert beside.unused == [f"optimizer.{key}"]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"a.weight": torch.zeros(2, 3), "b": torch.zeros(1)}, "begins with a.weight 2x3: check"),
        ({"step": torch.tensor(3)}, "begins with step a scalar: check `name` and `options`"),
        # It ends as a ResNet's does, and is none.
        ({"layer4.1.conv2.weight": torch.zeros(7)}, "begins with layer4.1.conv2.weight 7"),
    ],
)
def test_what_nobody_knows_is_shown_by_its_first_tensor(
    state: Mapping[str, Tensor], told: str
) -> None:
    assert told in recognised(state)
