"""Whose weights a file holds, by the names and the shapes of its tensors."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain

import torch
from torch import Tensor

from medistill import catalog
from medistill.models.backbones.base import Backbone, build_backbone
from medistill.models.checkpoints.base import CHECKPOINTS, Checkpoint
from medistill.models.matching import Match, match, shapes

_HEADS = ("fc", "classifier", "head", "head_dist", "last_linear", "aux1", "aux2", "AuxLogits")
_LIBRARIES = {  # by the end of a key that they share
    "layer4.1.conv2.weight": [f"torchvision/resnet{depth}" for depth in (18, 34, 50, 101)],
    "features.denseblock4.denselayer16.conv2.weight": ["torchvision/densenet121"],
    "features.0.0.weight": [
        f"torchvision/{name}"
        for name in ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0")
    ],
    "conv5.0.weight": ["torchvision/shufflenet_v2_x0_5", "torchvision/shufflenet_v2_x1_0"],
    "conv_stem.weight": ["timm/mobilenetv2_100", "timm/efficientnet_b0"],
    "patch_embed.proj.weight": [f"timm/vit_{w}_patch16_224" for w in ("tiny", "small", "base")],
}


def match_library(backbone: Backbone, state: Mapping[str, Tensor]) -> Match:
    """What a file has for a library's backbone; of other towers than its own it may hold any."""
    found = match(shapes(backbone.network.state_dict()), state)
    # Their classes are others than ours: what a file has in them is of no use here.
    heads = {*_HEADS, *backbone.dropped}
    inside = (k.removeprefix(found.prefix) for k in found.unused if k.startswith(found.prefix))
    strange = (name for name in inside if name.partition(".")[0] not in heads)
    return found.complaining(f"{name} is not in {backbone.spec.name}" for name in strange)


def recognised(state: Mapping[str, Tensor]) -> str:
    """The released model, or else the common backbone, whose tensors these are."""
    for name in (*_released(state), *_library(state)):
        return f"Is this {name}?"
    first, tensor = next(iter(state.items()))
    shape = "x".join(map(str, tensor.shape)) or "a scalar"
    return f"The file begins with {first} {shape}: check `name` and `options`."


def _released(state: Mapping[str, Tensor]) -> Iterator[str]:
    keys = "\n".join(state)
    for name in catalog.available(CHECKPOINTS):
        checkpoint = catalog.find(CHECKPOINTS, name, Checkpoint)
        for edition in checkpoint.editions:
            told = edition.own and re.search(edition.telltale, keys, re.MULTILINE)
            if told and not checkpoint.match(edition, edition.released(), state).complaints:
                yield name


def _library(state: Mapping[str, Tensor]) -> Iterator[str]:
    like = (
        names for ending, names in _LIBRARIES.items() if any(key.endswith(ending) for key in state)
    )
    for name in chain.from_iterable(like):
        # Shapes decide, so that no candidate takes memory or time for its random numbers.
        with torch.device("meta"):
            candidate = build_backbone(name)
        if not match_library(candidate, state).complaints:
            yield name
