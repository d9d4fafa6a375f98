"""Exact ways to convolve each sample with the weight of its own expert.

All compute `(W + s B_t A_t) * x + bias` for a sample x of task t, from the same arguments. They
differ in what they build and in what order they multiply; one test holds them equal. Which of them
runs is decided in `choice.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from medistill.models.lowrank.chunked import ChunkedConvolution
from medistill.models.lowrank.factored import FactoredRows, Seconds
from medistill.models.lowrank.factors import Pair
from medistill.models.lowrank.gathered import GatheredImages
from medistill.models.lowrank.geometry import Geometry, Sizes, change, channels_last
from medistill.models.lowrank.routing import Team
from medistill.models.lowrank.thin import ThinConvolutions, ThinWindows
from medistill.models.lowrank.windows import WindowedConvolution


@dataclass(frozen=True)
class Work:
    """One convolution of one batch.

    Args:
        layer: The convolution.
        teams: Of the samples, all of them.
        images: In the precision to compute in.
        weight: The shared one; it and what follows keep the precision of the parameters.
        bias: Of the convolution.
        factors: Of each team.
    """

    layer: Geometry
    teams: tuple[Team, ...]
    images: Tensor
    weight: Tensor
    bias: Tensor | None
    factors: tuple[Pair, ...]

    @property
    def flat(self) -> list[Tensor]:
        """The factors one after the other, as autograd wants them."""
        return [factor for pair in self.factors for factor in pair]

    @property
    def changes(self) -> list[Tensor]:
        """What the experts of each team add to the weight."""
        return [
            team.scale * change(a, b, self.layer.shape)
            for team, (a, b) in zip(self.teams, self.factors, strict=True)
        ]

    def cast(self) -> "Work":
        """The same, with all parameters in the precision of the images."""
        dtype = self.images.dtype
        if self.weight.dtype == dtype:
            return self
        bias = None if self.bias is None else self.bias.to(dtype)
        pairs = tuple((a.to(dtype), b.to(dtype)) for a, b in self.factors)
        return Work(self.layer, self.teams, self.images, self.weight.to(dtype), bias, pairs)


Algorithm = Callable[[Work], Tensor]


def mixture(work: Work, shares: Tensor) -> Tensor:
    """Every expert in every sample, by its share: equation 4 for a soft task matrix.

    Args:
        work: Its teams hold every expert once.
        shares: Of shape (batch, experts).
    """
    return _each_its_own(work, work.images, mixed_weights(work, shares))


def mixed_weights(work: Work, shares: Tensor) -> Tensor:
    """The weight of each sample; see `mixture`."""
    tasks = [task for team in work.teams for task in team.tasks]
    mixed = shares[:, tasks].to(work.weight.dtype) @ torch.cat(work.changes).flatten(1)
    return work.weight + mixed.view(-1, *work.layer.shape)


def chunk(work: Work) -> Tensor:
    """Build each task's weight, and convolve its samples with it."""
    result: Tensor = ChunkedConvolution.apply(
        work.layer, work.teams, work.images, work.weight, work.bias, *work.flat
    )
    return result


def gather(work: Work) -> Tensor:
    """One weight for each sample, and one product with the pixels of its image: 1 x 1 alone."""
    images, layer = _met(work), work.layer
    result: Tensor = GatheredImages.apply(
        work.teams, images.flatten(2), work.weight.flatten(1), work.bias, *work.flat
    )
    return result.view(len(images), layer.outputs, *images.shape[2:])


def factored(work: Work) -> Tensor:
    """The shared weight once for the whole batch, and beside it the two factors in turn.

    No expert's weight is ever built.
    """
    work = work.cast()
    if not work.layer.pointwise:
        base = work.layer.convolve(work.images, work.weight, work.bias)
        return _with_factors(work, base, ThinConvolutions)
    rows, plane = _pixels(work)
    weight, pixels = work.weight.flatten(1), prod(plane)
    result = FactoredRows.apply(pixels, work.teams, rows, weight, work.bias, *work.flat)
    return _pictures(result, work, plane)


def windowed(work: Work) -> Tensor:
    """Likewise, with every convolution as products of matrices."""
    if work.layer.pointwise:
        return factored(work)
    work = work.cast()
    base = WindowedConvolution.apply(work.layer, work.images, work.weight, work.bias)
    return _with_factors(work, base, ThinWindows)


def _with_factors(
    work: Work, base: Tensor, thin: type[ThinConvolutions] | type[ThinWindows]
) -> Tensor:
    images = work.images.split_with_sizes([sum(team.counts) for team in work.teams])
    thins_and_bs: list[Tensor] = []
    for team, own, (a, b) in zip(work.teams, images, work.factors, strict=True):
        thins_and_bs += [thin.apply(work.layer, team, own, a), b]
    result: Tensor = Seconds.apply(work.layer, work.teams, base, *thins_and_bs)
    return result


def _each_its_own(work: Work, images: Tensor, weights: Tensor) -> Tensor:
    """Convolve each image with its own weight."""
    layer, dtype = work.layer, images.dtype
    batch, _, *space = images.shape
    bias = None if work.bias is None else work.bias.to(dtype).repeat(batch)
    # Each image a group of its own: the library has no batched weights.
    joined = layer.convolve(
        images.reshape(1, -1, *space), weights.flatten(0, 1).to(dtype), bias, groups=batch
    )
    return joined.view(batch, layer.outputs, *joined.shape[2:])


def _met(work: Work) -> Tensor:
    """The pixels that a 1 x 1 convolution meets."""
    layer = work.layer
    sides = [side for padding in reversed(layer.padding) for side in (padding, padding)]
    images = F.pad(work.images, sides) if any(sides) else work.images
    # A stride leaves pixels out, which need not be multiplied either.
    steps = [slice(None, None, stride) for stride in layer.stride]
    return images[(slice(None), slice(None), *steps)]


def _pixels(work: Work) -> tuple[Tensor, Sizes]:
    """Likewise, one a row, and the plane they form."""
    met = _met(work).movedim(1, -1)
    return met.reshape(-1, work.layer.inputs), tuple(met.shape[1:-1])


def _pictures(rows: Tensor, work: Work, plane: Sizes) -> Tensor:
    """Rows of pixels as images, laid in memory as the library's convolution would."""
    images = rows.view(len(work.images), *plane, -1).movedim(-1, 1)
    last = channels_last(work.images) or channels_last(work.weight)
    return images if last else images.contiguous()
