"""An expert: the low-rank factors of one task on every convolution of a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from medistill.models.lowrank.geometry import Geometry, change

Pair = tuple[Tensor, Tensor]
"""Factors A and B of one layer, stacked for several experts."""


FIXED_RANK = 8  # with `fixed`, the released segmentation code scales every product by 16 / 8


@dataclass(frozen=True)
class Scaling:
    """What a product of factors is multiplied by.

    Args:
        alpha: Of LoRA.
        kind: Whether alpha is divided by each rank, or by 8 whatever the rank.
    """

    alpha: float = 16.0
    kind: Literal["alpha_over_r", "fixed"] = "alpha_over_r"

    def of(self, rank: int) -> float:
        """For factors of this rank."""
        return self.alpha / (rank if self.kind == "alpha_over_r" else FIXED_RANK)


class Expert(nn.Module):
    """The factors of one task, laid end to end in one parameter: first every A, then every B.

    As one parameter an expert has a gradient or has none, whatever the number of layers, and an
    optimiser visits as many tensors as there are tasks.

    A starts uniform within 1 / sqrt(columns), which is Kaiming's with a = sqrt(5), and B at zero:
    a new expert changes nothing.

    Args:
        layers: The convolutions, in the order in which they were found.
        rank: Of factors on a layer of multiple 1.
        scaling: Of the factors' products.
        generator: Where the random numbers come from.
    """

    def __init__(
        self, layers: Sequence[Geometry], *, rank: int, scaling: Scaling, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.layers, self.rank, self.scaling = tuple(layers), rank, scaling
        shapes = [layer.factors(rank) for layer in layers]
        first = [_uniform(a, a[1] ** -0.5, generator) for a, _ in shapes]
        zeros = torch.zeros(sum(prod(b) for _, b in shapes))
        self.numbers = nn.Parameter(torch.cat([*first, zeros]))

    def pairs(self) -> list[Pair]:
        """A and B of each layer, as views of the one parameter."""
        return [(a[0], b[0]) for a, b in stacked([self])]

    def change(self, place: int) -> Tensor:
        """What it adds to the weight of one layer."""
        (a, b), layer = self.pairs()[place], self.layers[place]
        return self.scale(layer.multiple) * change(a, b, layer.shape)

    def scale(self, multiple: int) -> float:
        """What it multiplies the product by on layers of a multiple."""
        return self.scaling.of(self.rank * multiple)


def stacked(experts: Sequence[Expert]) -> list[Pair]:
    """For each layer the factors of experts of one rank, one above the other."""
    rank, layers = experts[0].rank, experts[0].layers
    # One expert needs no copy.
    alone = experts[0].numbers[None]
    numbers = torch.stack([e.numbers for e in experts]) if len(experts) > 1 else alone
    shapes = [layer.factors(rank) for layer in layers]
    both = [*(a for a, _ in shapes), *(b for _, b in shapes)]
    # Split, not sliced: the gradient is then one concatenation, not one full tensor per layer.
    parts = numbers.split_with_sizes([prod(shape) for shape in both], dim=1)
    seen = [part.view(-1, *shape) for part, shape in zip(parts, both, strict=True)]
    return list(zip(seen[: len(layers)], seen[len(layers) :], strict=True))


def _uniform(shape: Sequence[int], bound: float, generator: torch.Generator) -> Tensor:
    return torch.empty(prod(shape)).uniform_(-bound, bound, generator=generator)
