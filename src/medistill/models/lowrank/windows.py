"""Convolutions as products of matrices: every output position a row, its window laid flat.

Rows are made of the channels-last layout, so that the samples of a task are consecutive rows.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medistill.models.lowrank.geometry import Geometry, Sizes

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class WindowedConvolution(torch.autograd.Function):
    """A plain convolution as one product of matrices.

    The library's own brings the weight into another order for every call, and its gradient back:
    with few rows that takes longer than the product. The windows are laid out anew for the backward
    pass: kept, they would take as many times the memory of the images as the kernel has taps.
    """

    @staticmethod
    def forward(
        ctx: Any, layer: Geometry, images: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Windows times the weight laid flat."""
        ctx.layer, ctx.biased = layer, bias is not None
        ctx.save_for_backward(images, weight)
        rows = windows(_pixels(images), layer)
        size = (len(images), layer.outputs, *layer.plane(tuple(images.shape[2:])))
        result = torch.empty(
            size, dtype=rows.dtype, device=rows.device, memory_format=LAST[len(size)]
        )
        products = result.movedim(1, -1).view(len(rows), -1)
        torch.mm(rows, _flat(weight).T, out=products)
        if bias is not None:
            products += bias
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Windows that overlap add up."""
        layer: Geometry = ctx.layer
        images, weight = ctx.saved_tensors
        pixels = _pixels(images)
        gradient = gradient.movedim(1, -1).reshape(-1, layer.outputs)
        shape = (layer.outputs, *layer.kernel, layer.inputs)
        onto_weight = (gradient.T @ windows(pixels, layer)).view(shape).movedim(-1, 1)
        canvas = Canvas(pixels, layer)
        canvas.add(gradient @ _flat(weight), slice(None))
        onto_bias = gradient.sum(0) if ctx.biased else None
        return None, canvas.pixels().movedim(-1, 1), onto_weight, onto_bias


def windows(pixels: Tensor, layer: Geometry) -> Tensor:
    """The window of each output position, as rows of taps x channels.

    Args:
        pixels: Of shape (batch, *space, channels); any part of the layer's channels.
        layer: Says where the windows lie.
    """
    pixels = layer.bordered(pixels)
    plane = replace(layer, padding=(0,) * len(layer.kernel)).plane(tuple(pixels.shape[1:-1]))
    batch, *steps, channel = pixels.stride()
    moves = [step * stride for step, stride in zip(steps, layer.stride, strict=True)]
    taps = [step * gap for step, gap in zip(steps, layer.dilation, strict=True)]
    # A view in which windows overlap; the reshape below is the one copy.
    seen = pixels.as_strided(
        (len(pixels), *plane, *layer.kernel, pixels.shape[-1]),
        (batch, *moves, *taps, channel),
        pixels.storage_offset(),
    )
    return seen.reshape(len(pixels) * prod(plane), -1)


class Canvas:
    """Where rows of windows are laid back, overlapping ones on top of each other.

    Args:
        like: Of shape (batch, *space, channels): what the windows were taken from.
        layer: Says where they lie.
    """

    def __init__(self, like: Tensor, layer: Geometry) -> None:
        self.layer = layer
        self.space: Sizes = tuple(like.shape[1:-1])
        sizes = [n + 2 * p for n, p in zip(self.space, layer.padding, strict=True)]
        self._sum = like.new_zeros(len(like), *sizes, like.shape[-1])

    def add(self, rows: Tensor, channels: slice) -> None:
        """Lay the windows of some channels onto what lies there."""
        target = self._sum[..., channels]
        plane = self.layer.plane(self.space)
        rows = rows.view(len(target), *plane, -1, target.shape[-1])
        # Tap by tap: pixels of one tap never overlap, so that each sum is one strided addition.
        for tap, place in enumerate(self._places(plane)):
            target[(slice(None), *place)] += rows[..., tap, :]

    def pixels(self) -> Tensor:
        """The sum, without the padding."""
        inside = [slice(p, p + n) for p, n in zip(self.layer.padding, self.space, strict=True)]
        return self._sum[(slice(None), *inside)]

    def _places(self, plane: Sizes) -> Iterator[tuple[slice, ...]]:
        """Of each tap, the pixels that it meets."""
        layer = self.layer
        for taps in product(*map(range, layer.kernel)):
            firsts = [tap * gap for tap, gap in zip(taps, layer.dilation, strict=True)]
            yield tuple(
                slice(first, first + (n - 1) * stride + 1, stride)
                for first, n, stride in zip(firsts, plane, layer.stride, strict=True)
            )


def _pixels(images: Tensor) -> Tensor:
    return images.movedim(1, -1).contiguous()


def _flat(weight: Tensor) -> Tensor:
    """The weight as it meets a window: (Cout, taps x Cin)."""
    return weight.movedim(1, -1).flatten(1)
