"""Released segmenters as their authors publish them: keys, shapes and wrapping, random numbers.

Nothing here comes from what is tested: the keys are spelt out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Form:
    """Of a U-Net and what looks at it."""

    widths: tuple[int, ...]
    convs: int = 2
    hidden: int = 768
    layers: int = 6
    feedforward: int = 2048
    embedding: int = 768
    mask: int = 256


NANO = Form((64, 64, 128, 256, 512, 768))
PRO = Form((128, 128, 256, 512, 1024, 1536), convs=3, embedding=1536, mask=384)
LORKD_NANO = Form((32, 64, 128, 256, 512))
SMALL = Form((4, 6, 8), hidden=12, layers=1, feedforward=10, embedding=14, mask=5)
RANKS = (2, 4, 2, 2, 2, 4, 2, 6)


def _layer(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _convolutions(form: Form) -> Iterator[tuple[str, str, int, int, int]]:
    """Part of the network, stage, place in it, channels in and out."""
    channels = 3
    for stage, width in enumerate(form.widths):
        for place in range(form.convs):
            yield "encoder", f"stages.{stage}.0", place, channels, width
            channels = width
    for stage, width in enumerate(form.widths[-2::-1]):
        for place in range(form.convs):
            yield "decoder", f"stages.{stage}", place, width if place else 2 * width, width


def _ups(form: Form) -> Iterator[tuple[str, tuple[int, ...]]]:
    for stage, width in enumerate(form.widths[-2::-1]):
        below = form.widths[len(form.widths) - 1 - stage]
        yield f"decoder.transpconvs.{stage}.weight", (below, width, 2, 2, 2)
        yield f"decoder.transpconvs.{stage}.bias", (width,)


def _others(form: Form) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = form.hidden
    yield from _layer("projection_layer.0", form.embedding, sum(form.widths))
    yield from _layer("projection_layer.2", width, form.embedding)
    for layer in range(form.layers):
        name = f"transformer_decoder.layers.{layer}"
        yield f"{name}.multihead_attn.in_proj_weight", (3 * width, width)
        yield f"{name}.multihead_attn.in_proj_bias", (3 * width,)
        yield from _layer(f"{name}.multihead_attn.out_proj", width, width)
        yield from _layer(f"{name}.linear1", form.feedforward, width)
        yield from _layer(f"{name}.linear2", width, form.feedforward)
        for norm in ("norm1", "norm2", "norm3"):
            yield from _layer(f"{name}.{norm}", width)
    yield from _layer("transformer_decoder.norm", width)
    yield from _layer("mask_embed_proj.0", form.mask, width)
    yield from _layer("mask_embed_proj.2", form.widths[0], form.mask)


def _deep(form: Form) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Heads of SAT's deep supervision."""
    for place, width in enumerate(form.widths[1:4]):
        yield from _layer(f"mid_mask_embed_proj.{place}.0", 8, form.hidden)
        yield from _layer(f"mid_mask_embed_proj.{place}.2", width, 8)


def sat(form: Form) -> Shapes:
    """From DDP; each convolution and norm a second time, in a Sequential of the two."""
    own: Shapes = dict(_others(form)) | dict(_deep(form))
    for part, stage, place, channels, width in _convolutions(form):
        layer = f"backbone.{part}.{stage}.convs.{place}"
        for name in ("conv", "all_modules.0"):
            own |= dict(_layer(f"{layer}.{name}", width, channels, 3, 3, 3))
        for name in ("norm", "all_modules.1"):
            own |= dict(_layer(f"{layer}.{name}", width))
    own |= {f"backbone.{name}": shape for name, shape in _ups(form)}
    return {f"module.{name}": shape for name, shape in own.items()}


def lorkd(form: Form, ranks: Sequence[int] = RANKS) -> Shapes:
    """The U-Net twice, below the wrapper's `model` and as its `unet`, with factors A and B."""
    unet: Shapes = dict(_ups(form))
    for part, stage, place, channels, width in _convolutions(form):
        layer = f"{part}.{stage}.stages.{place}"
        unet |= dict(_layer(f"{layer}.conv.conv", width, channels, 3, 3, 3))
        unet |= dict(_layer(f"{layer}.norm", width))
        for task, rank in enumerate(ranks):
            inner = 3 * rank * (2 if part == "decoder" else 1)
            unet[f"{layer}.conv.lora_A_list.{task}"] = (inner, 9 * channels)
            unet[f"{layer}.conv.lora_B_list.{task}"] = (3 * width, inner)
    own = {f"model.module.{name}": shape for name, shape in _others(form)}
    own |= {f"model.module.backbone.{name}": shape for name, shape in unet.items()}
    return own | {f"unet.{name}": shape for name, shape in unet.items()}


def filled(shapes: Shapes) -> dict[str, Tensor]:
    """Random numbers; two names of one tensor share them."""
    drawn: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        first = key.replace("all_modules.0", "conv").replace("all_modules.1", "norm")
        first = first.removeprefix("unet.").removeprefix("model.module.backbone.")
        drawn.setdefault(first, torch.randn(shape) * 0.3)
        drawn[key] = drawn[first]
    return {key: drawn[key] for key in shapes}


def hollow(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors that have a shape, and nothing else."""
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def wrapped(state: dict[str, Tensor]) -> dict[str, Any]:
    """As both projects save: the optimiser beside."""
    optimiser = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
    return {"step": 140_000, "model_state_dict": state, "optimizer_state_dict": optimiser}
