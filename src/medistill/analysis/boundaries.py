"""How a network divides the plane through three images into classes.

Somepalli et al., Can Neural Nets Learn the Same Model Twice?, CVPR 2022.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

MARGIN = 0.1  # of the box around the three images, on each side
POINTS = 128  # images that a network is shown at once
FLAT = 1e-3  # below, in units of the longest side, three images lie on a line


@dataclass(frozen=True)
class InputSpace:
    """The normalised space in which planes are laid, the same for all networks.

    Args:
        mean: Subtracted from each channel of images in [0, 1].
        std: What each channel is divided by.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def enter(
        self, images: Float[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """Images in [0, 1] as points of the space."""
        mean, std = self._like(images)
        return (images - mean) / std

    def leave(
        self, points: Float[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """Points as images, which may leave [0, 1]; each network normalises for itself."""
        mean, std = self._like(points)
        return points * std + mean

    def _like(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(images.new_tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))  # type: ignore[return-value]


@dataclass(frozen=True)
class Plane:
    """The plane through three points, with coordinates in units of the space.

    Args:
        origin: The first point, at (0, 0).
        across: Unit vector towards the second point.
        up: Unit vector at a right angle to it, on the side of the third.
        anchors: Coordinates of the three points.
    """

    origin: Float[Tensor, "*shape"]
    across: Float[Tensor, "*shape"]
    up: Float[Tensor, "*shape"]
    anchors: Float[Tensor, "3 2"]

    @classmethod
    def through(
        cls,
        first: Float[Tensor, "*shape"],
        second: Float[Tensor, "*shape"],
        third: Float[Tensor, "*shape"],
    ) -> "Plane | None":
        """The plane of three points; None where they lie on a line."""
        # In double: a norm over some 10^5 pixels must not bend the right angle.
        along, aside = (point.double() - first.double() for point in (second, third))
        length = along.norm()
        across = along / length
        shift = (aside * across).sum()
        rest = aside - shift * across
        height = rest.norm()
        if not min(length, height) > FLAT * max(length, aside.norm()):
            return None
        nil = torch.zeros_like(length)
        anchors = torch.stack([nil, nil, length, nil, shift, height]).view(3, 2)
        return cls(first, across.to(first), (rest / height).to(first), anchors.float())

    @property
    def box(self) -> Float[Tensor, "2 2"]:
        """Lowest and highest coordinates that are looked at: the box of the anchors, enlarged."""
        low, high = self.anchors.amin(0), self.anchors.amax(0)
        room = MARGIN * (high - low)
        return torch.stack([low - room, high + room])

    def grid(self, side: int) -> Float[Tensor, "points 2"]:
        """Coordinates of side x side points over the box; those across change slowly."""
        low, high = self.box
        steps = torch.linspace(0, 1, side, device=low.device)[:, None]
        return torch.cartesian_prod(*(low + steps * (high - low)).T)

    def points(self, at: Float[Tensor, "points 2"]) -> Float[Tensor, " points *shape"]:
        """The points at some coordinates."""
        across, up = (c.view(-1, *[1] * self.origin.ndim) for c in at.to(self.origin).T)
        found: Tensor = self.origin + across * self.across + up * self.up
        return found


def triplets(targets: Int[np.ndarray, " samples"], count: int, seed: int = 0) -> list[list[int]]:
    """Positions of three different samples each, of three classes where there are so many.

    Of two classes, two samples are of the one and the third is of the other.

    Args:
        targets: Class of each sample.
        count: How many triplets to draw.
        seed: Of the drawing.

    Raises:
        ValueError: There are not two classes, or not three samples.
    """
    members = [np.flatnonzero(targets == each) for each in np.unique(targets)]
    if len(members) < 2 or len(targets) < 3:
        raise ValueError(f"{len(targets)} samples of {len(members)} classes make no triplet")
    draw = np.random.default_rng(seed)
    return [_triplet(members, draw) for _ in range(count)]


def classify(
    network: nn.Module, planes: Sequence[Plane], side: int, space: InputSpace
) -> Int[Tensor, "planes side side"]:
    """The class that a network calls each point of a grid over each plane.

    Args:
        network: In evaluation mode, from images in [0, 1] to `Output` with logits.
        planes: In `space`, on the device of the network.
        side: Points along each edge of the grid.
        space: What the planes were laid in.
    """
    with torch.inference_mode():
        called = [network(space.leave(block)).logits.argmax(1) for block in _blocks(planes, side)]
    return torch.cat(called).view(len(planes), side, side).cpu()


def agreement(
    a: Int[Tensor, "planes side side"], b: Int[Tensor, "planes side side"]
) -> Float[Tensor, " planes"]:
    """Share of each plane that two networks call alike; its mean is the reproducibility score."""
    return (a == b).double().mean((1, 2)).float()


def agreement_by_chance(
    a: Int[Tensor, "planes side side"], b: Int[Tensor, "planes side side"]
) -> float:
    """The score of two networks that call classes as often, each wherever it likes."""
    kinds = int(max(a.max(), b.max())) + 1
    shares = [each.flatten().bincount(minlength=kinds).double() / each.numel() for each in (a, b)]
    return (shares[0] * shares[1]).sum().item()


def fragments(classes: Int[Tensor, "planes side side"]) -> Int[Tensor, " planes"]:
    """How many connected regions each plane falls into; points that touch at a corner connect."""
    count, side, _ = classes.shape
    numbers = torch.arange(side * side).view(side, side).expand(count, -1, -1)
    while True:
        spread = _lowest_of_neighbours(numbers, classes)
        if torch.equal(spread, numbers):
            break
        numbers = spread
    # Each region ends with the number of its first point, which no other region holds.
    return (numbers == torch.arange(side * side).view(side, side)).sum((1, 2))


def _triplet(members: Sequence[np.ndarray], draw: np.random.Generator) -> list[int]:
    if len(members) >= 3:
        kinds = draw.choice(len(members), 3, replace=False)
        return [int(draw.choice(members[kind])) for kind in kinds]
    pair, alone = (members[kind] for kind in draw.permutation(2))
    if len(pair) < 2:
        pair, alone = alone, pair
    return [*map(int, draw.choice(pair, 2, replace=False)), int(draw.choice(alone))]


def _blocks(planes: Sequence[Plane], side: int) -> Iterator[Tensor]:
    """The points of all planes in turn, as many at once as `POINTS` allows."""
    together = max(1, POINTS // side**2)
    for start in range(0, len(planes), together):
        group = planes[start : start + together]
        grids = (torch.split(plane.grid(side), POINTS) for plane in group)
        for parts in zip(*grids, strict=True):
            yield torch.cat([p.points(at) for p, at in zip(group, parts, strict=True)])


def _lowest_of_neighbours(numbers: Tensor, classes: Tensor) -> Tensor:
    lowest = numbers.clone()
    side = classes.shape[1]
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        here = (slice(None), slice(0, side - down), slice(max(0, -right), side - max(0, right)))
        there = (slice(None), slice(down, side), slice(max(0, right), side + min(0, right)))
        same = classes[here] == classes[there]
        both = torch.minimum(lowest[here], lowest[there])
        lowest[here] = torch.where(same, both, lowest[here])
        # A point may be here for one pair and there for another: it keeps the lower number.
        lowest[there] = torch.where(same, torch.minimum(both, lowest[there]), lowest[there])
    return lowest
