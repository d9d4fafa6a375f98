"""What the first factors of a team's experts make of its images: few numbers for each pixel.

The first factor has Cin rows of taps, but the input channels and the first taps together make Cin k
of them. So it is applied k times, to about one k-th of the channels each: a convolution with k
groups that all have the same weight, shifted by some taps where k does not divide Cin.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from medistill.models.lowrank.geometry import Geometry
from medistill.models.lowrank.routing import Team
from medistill.models.lowrank.windows import Canvas, windows

Gradients = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Block:
    """The input channels that one group looks at.

    Args:
        channels: As many in every group; neighbours may overlap.
        shift: First taps of the first channel that are not the group's.
    """

    channels: slice
    shift: int


def blocks(layer: Geometry) -> list[Block]:
    """One for each first tap of the kernel."""
    k, inputs = layer.first, layer.inputs
    firsts = [block * inputs // k for block in range(k)]
    ends = [-(-(block + 1) * inputs // k) for block in range(k)]
    width = max(end - first for first, end in zip(firsts, ends, strict=True))
    # Of eight, as the library's vectorised convolutions with groups want them.
    width = min(-(-width // 8) * 8, inputs)
    firsts = [min(first, inputs - width) for first in firsts]
    return [
        Block(slice(first, first + width), block * inputs - first * k)
        for block, first in enumerate(firsts)
    ]


def spread(a: Tensor, layer: Geometry) -> Tensor:
    """First factors as the weight of such a convolution: (tasks, k, inner, channels, *kernel)."""
    taps = a.view(*a.shape[:2], layer.inputs, layer.rest)
    groups = []
    for block in blocks(layer):
        width = block.channels.stop - block.channels.start
        after = width * layer.first - layer.inputs - block.shift
        group = F.pad(taps, (0, 0, block.shift, after))
        groups.append(group.view(*a.shape[:2], width, *layer.kernel))
    return torch.stack(groups, dim=1)


def gathered(spread: Tensor, layer: Geometry) -> Tensor:
    """The transpose of `spread`: a gradient of what it gave, as one of the first factors."""
    # Overlapping groups looked at a channel twice, with zeros in place of taps that are not theirs:
    # their gradients add up.
    total: Tensor | None = None
    for group, block in zip(spread.unbind(1), blocks(layer), strict=True):
        taps = group.reshape(*group.shape[:2], -1, layer.rest)
        own = taps[:, :, block.shift : block.shift + layer.inputs]
        total = own.clone() if total is None else total.add_(own)
    assert total is not None
    return total.flatten(2)


class ThinConvolutions(torch.autograd.Function):
    """By the library's convolution with groups, task by task."""

    @staticmethod
    def forward(ctx: Any, layer: Geometry, team: Team, images: Tensor, a: Tensor) -> Tensor:
        """Rows of k x inner numbers."""
        ctx.layer, ctx.team = layer, team
        ctx.save_for_backward(images, a)
        weights = spread(a, layer).flatten(1, 2)
        chunks = _side_by_side(images, layer).split_with_sizes(team.counts)
        convolved = [
            layer.convolve(chunk, weight, None, groups=layer.first)
            for chunk, weight in zip(chunks, weights, strict=True)
        ]
        return torch.cat(convolved).movedim(1, -1).reshape(-1, weights.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        """The library's gradients, task by task."""
        layer, team = ctx.layer, ctx.team
        images, a = ctx.saved_tensors
        weights = spread(a, layer)
        plane = layer.plane(tuple(images.shape[2:]))
        gradient = gradient.view(len(images), *plane, -1).movedim(-1, 1)
        onto_sides, onto_weights = zip(
            *(
                layer.gradients(here, chunk, weight, asked=(True, False), groups=layer.first)[:2]
                for here, chunk, weight in zip(
                    gradient.split_with_sizes(team.counts),
                    _side_by_side(images, layer).split_with_sizes(team.counts),
                    weights.flatten(1, 2),
                    strict=True,
                )
            ),
            strict=True,
        )
        onto_images = torch.zeros_like(images)
        parts = torch.cat(onto_sides).chunk(layer.first, dim=1)
        for part, block in zip(parts, blocks(layer), strict=True):
            onto_images[:, block.channels] += part
        onto_a = gathered(torch.stack(onto_weights).view(weights.shape), layer)
        return None, None, onto_images, onto_a


class ThinWindows(torch.autograd.Function):
    """By products of matrices, for all tasks of a run at once."""

    @staticmethod
    def forward(ctx: Any, layer: Geometry, team: Team, images: Tensor, a: Tensor) -> Tensor:
        """Rows of k x inner numbers."""
        ctx.layer, ctx.team = layer, team
        ctx.save_for_backward(images, a)
        pixels = images.movedim(1, -1).contiguous()
        parts = []
        for block, matrices in zip(blocks(layer), _matrices(a, layer), strict=True):
            rows = windows(pixels[..., block.channels], layer)
            parts.append(rows.new_empty(len(rows), matrices.shape[1]))
            for own, matrix, product in zip(
                team.runs_of(rows), team.stacks(matrices.mT), team.runs_of(parts[-1]), strict=True
            ):
                torch.bmm(own, matrix, out=product)
        return torch.cat(parts, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        """Windows that overlap add up."""
        layer, team = ctx.layer, ctx.team
        images, a = ctx.saved_tensors
        pixels = images.movedim(1, -1).contiguous()
        canvas, onto_matrices = Canvas(pixels, layer), []
        for block, matrices, part in zip(
            blocks(layer), _matrices(a, layer), gradient.chunk(layer.first, dim=1), strict=True
        ):
            rows = windows(pixels[..., block.channels], layer)
            onto_rows, onto_own = torch.empty_like(rows), torch.empty_like(matrices)
            for here, own, matrix, onto_matrix, onto_row in zip(
                team.runs_of(part.contiguous()),
                team.runs_of(rows),
                team.stacks(matrices),
                team.stacks(onto_own),
                team.runs_of(onto_rows),
                strict=True,
            ):
                torch.bmm(here.mT, own, out=onto_matrix)
                torch.bmm(here, matrix, out=onto_row)
            canvas.add(onto_rows, block.channels)
            onto_matrices.append(onto_own)
        shape = (len(a), layer.first, a.shape[1], prod(layer.kernel), -1)
        onto_spread = torch.stack(onto_matrices, dim=1).view(shape).transpose(3, 4)
        return None, None, canvas.pixels().movedim(-1, 1), gathered(onto_spread, layer)


def _side_by_side(images: Tensor, layer: Geometry) -> Tensor:
    """The channels of every group, one group after the other."""
    return torch.cat([images[:, block.channels] for block in blocks(layer)], dim=1)


def _matrices(a: Tensor, layer: Geometry) -> tuple[Tensor, ...]:
    """First factors as they meet the windows of each group: (tasks, inner, taps x channels)."""
    taps = spread(a, layer).flatten(4).transpose(3, 4)
    return taps.flatten(3).unbind(1)
