"""Experts whose weights are built, and then convolved with task by task."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medistill.models.lowrank.geometry import Geometry, channels_last
from medistill.models.lowrank.routing import Team

CACHED = 2**18  # numbers; 1 MB, half a core's share of a common cache

Gradients = tuple[Tensor | None, ...]


class ChunkedConvolution(torch.autograd.Function):
    """A convolution for each task, with weights that are built when needed and then forgotten.

    Slab by slab, so that the weights of its tasks, and their gradients, stay in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        layer: Geometry,
        teams: tuple[Team, ...],
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *factors: Tensor,
    ) -> Tensor:
        """The images of each task through its own weight."""
        ctx.layer, ctx.teams, ctx.biased = layer, teams, bias is not None
        ctx.save_for_backward(images, weight, *factors)
        bias = None if bias is None else bias.to(images.dtype)
        convolved = []
        for team, a, b in zip(teams, factors[::2], factors[1::2], strict=True):
            for slab in _slabs(team, weight):
                own = _own(weight, a[slab], b[slab], team.scale, layer, images)
                for samples, tasks in _pieces(team, slab, images):
                    convolved.append(_convolve(layer, images[samples], own[tasks], bias))
        return _joined(convolved)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        """The gradient of each task's weight gives those of its factors and its share of W's."""
        layer: Geometry = ctx.layer
        images, weight, *factors = ctx.saved_tensors
        asked = ctx.needs_input_grad[2], ctx.biased
        onto_images: list[Tensor] = []
        onto_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        onto_bias = weight.new_zeros(layer.outputs)
        onto_factors = [torch.empty_like(factor) for factor in factors]
        for team, a, b, onto_a, onto_b in zip(
            ctx.teams,
            factors[::2],
            factors[1::2],
            onto_factors[::2],
            onto_factors[1::2],
            strict=True,
        ):
            for slab in _slabs(team, weight):
                own = _own(weight, a[slab], b[slab], team.scale, layer, images)
                onto_own = weight.new_empty(len(own), *layer.shape)
                for samples, tasks in _pieces(team, slab, images):
                    onto_piece, onto_matrix, onto_biases = _gradients(
                        layer, gradient[samples], images[samples], own[tasks], asked
                    )
                    onto_own[tasks] = onto_matrix.view(onto_own[tasks].shape)
                    if onto_piece is not None:
                        onto_images.append(onto_piece)
                    if onto_biases is not None:
                        onto_bias += onto_biases.view(-1, layer.outputs).sum(0)
                onto_weight += onto_own.sum(0)
                flat = onto_own.view(len(own), b.shape[1], -1).mul_(team.scale)
                torch.bmm(b[slab].mT, flat, out=onto_a[slab])
                torch.bmm(flat, a[slab].mT, out=onto_b[slab])
        return (
            None,
            None,
            _joined(onto_images) if onto_images else None,
            onto_weight,
            onto_bias if ctx.biased else None,
            *onto_factors,
        )


def _slabs(team: Team, weight: Tensor) -> list[slice]:
    """Tasks whose weights fit into the cache together; but never one alone, where there are two."""
    tasks = len(team.tasks)
    parts = max(1, tasks // max(2, CACHED // weight.numel()))
    ends = [tasks * part // parts for part in range(parts + 1)]
    return [slice(first, end) for first, end in pairwise(ends)]


def _pieces(team: Team, slab: slice, images: Tensor) -> Iterator[tuple[slice, slice]]:
    """What one call convolves: its samples, and its tasks within the slab.

    Tasks with one sample each go together, as groups, where their channels lie one after the other:
    a single sample in 3D is left to a slow path of the library.
    """
    counts, chunks = team.counts[slab], team.chunks[slab]
    singles = 0 if channels_last(images) else counts.count(1)
    if singles > 1:
        yield slice(chunks[0].start, chunks[singles - 1].stop), slice(0, singles)
    for task in range(singles if singles > 1 else 0, len(counts)):
        yield chunks[task], slice(task, task + 1)


def _own(
    weight: Tensor, a: Tensor, b: Tensor, scale: float, layer: Geometry, images: Tensor
) -> Tensor:
    """Each task's weight, laid in memory as the images are."""
    # In the parameters' precision: W + s B A loses digits in half of it.
    matrix = weight.reshape(1, b.shape[1], a.shape[2])
    own = torch.baddbmm(matrix, b, a, alpha=scale).view(-1, *layer.shape).to(images.dtype)
    return own.movedim(2, -1).contiguous().movedim(-1, 2) if channels_last(images) else own


def _convolve(layer: Geometry, images: Tensor, own: Tensor, bias: Tensor | None) -> Tensor:
    """Samples of one task, or one of each task."""
    groups = len(own)
    bias = None if bias is None else bias.to(images.dtype).repeat(groups)
    if groups > 1:
        images = images.reshape(1, -1, *images.shape[2:])
    convolved = layer.convolve(images, own.flatten(0, 1), bias, groups=groups)
    return convolved.view(groups, layer.outputs, *convolved.shape[2:]) if groups > 1 else convolved


def _gradients(
    layer: Geometry, gradient: Tensor, images: Tensor, own: Tensor, asked: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Of images, weights and biases."""
    groups, weight = len(own), own.flatten(0, 1)
    if groups == 1:
        return layer.gradients(gradient, images, weight, asked=asked)
    gradient, joined = (t.reshape(1, -1, *t.shape[2:]) for t in (gradient, images))
    onto_joined, onto_weight, onto_bias = layer.gradients(
        gradient, joined, weight, asked=asked, groups=groups
    )
    onto_images = None if onto_joined is None else onto_joined.view(images.shape)
    return onto_images, onto_weight, onto_bias


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """No view, which autograd would not let the next layer change in place."""
    alone = len(parts) == 1 and parts[0]._base is None
    return parts[0] if alone else torch.cat(list(parts))
