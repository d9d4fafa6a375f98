"""A whole volume by its patches: half overlap, Gaussian weights, and memory for one slab of sums.

Patches come in order along one axis, so that planes which no later patch touches are turned into
labels at once. What is held in float is classes x one slab, not classes x the volume.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from medistill.errors import UserError
from medistill.shapes import Float, Float32, Shaped, UInt8

Patch: TypeAlias = tuple[int, int, int]
Run: TypeAlias = Callable[
    [Float32[np.ndarray, "batch 1 a b c"]], Float32[np.ndarray, "batch classes a b c"]
]
"""A network: patches in, the probability of each class and voxel out."""
Progress: TypeAlias = Callable[[int, int], None]
"""Told how many patches are done, and of how many."""

SHARPNESS = 8  # sides of a patch over the standard deviation of its weights
PEAK = 10.0
CACHED = 2**15  # voxels that are weighted and added before they leave the processor's cache
MOST_CLASSES = 255  # 8 bits, and 0 is the background


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How patches overlap, and what a voxel takes from them.

    Args:
        overlap: Share of a patch's side that its neighbour covers too.
        threshold: What a mean probability must exceed.
        per_class: Whether classes may overlap: a mask of 0 and 1 for each, (classes, x, y, z).
    """

    overlap: float = 0.5
    threshold: float = 0.5
    per_class: bool = False


HALF = Rule()  # as the SAT papers have it


def segment(
    run: Run,
    image: Float[np.ndarray, "x y z"],
    *,
    patch: Sequence[int],
    classes: int,
    rule: Rule = HALF,
    batch: int = 1,
    on_progress: Progress | None = None,
) -> UInt8[np.ndarray, "*masks x y z"]:
    """Labels of a volume: 0 is background, class c is c + 1.

    A voxel takes the class whose probability, averaged over all patches with their Gaussian
    weights, is the largest, if that is over the threshold. The last patch of each row is shifted
    inside; a volume smaller than a patch is padded with zeros, as much before it as behind.

    Args:
        run: The network; it may be given fewer patches than `batch`, never more.
        image: As the network was trained on.
        patch: Sides of a patch.
        classes: How many the network answers.
        rule: How patches overlap, and what a voxel takes.
        batch: How many patches the network gets at once.
        on_progress: Told after each batch.

    Raises:
        UserError: The patch or the overlap makes no sense, or 8 bits do not hold the classes.
    """
    side = _checked(patch, rule.overlap)
    _refuse_many(classes, rule)
    padded, inside = _padded(image, side)
    grid = [_starts(*pair, rule.overlap) for pair in zip(padded.shape, side, strict=True)]
    sums = _Sums(padded.shape, side, grid, classes, rule)
    corners = sorted(product(*grid), key=lambda corner: corner[sums.axis])
    for first in range(0, len(corners), batch):
        some = corners[first : first + batch]
        sums.add(some, run(_cut(padded, some, side)))
        if on_progress:
            on_progress(first + len(some), len(corners))
    return np.ascontiguousarray(sums.finished()[inside])


def gaussian(patch: Sequence[int]) -> Float32[np.ndarray, "a b c"]:
    """Weight of each voxel of a patch: at most 10, falling to e^-8 of that along an axis.

    Within a patch it is never zero, since its edges lie 4 standard deviations from the middle.
    """
    a, b, c = (_bell(length) for length in patch)
    return np.asarray(PEAK * a[:, None, None] * b[:, None] * c, np.float32)


class _Sums:
    """Weighted sums where patches still come, and labels where none do.

    Args:
        shape: Of the volume.
        patch: Sides of a patch.
        grid: Where patches start along each axis.
        classes: How many the network answers.
        rule: What a mean must exceed, and whether to keep a mask per class.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        patch: Patch,
        grid: Sequence[Sequence[int]],
        classes: int,
        rule: Rule,
    ) -> None:
        # Counted in patches: the slab is then the smallest part of the volume that it can be.
        self.axis = int(np.argmax([n / side for n, side in zip(shape, patch, strict=True)]))
        self.patch = patch
        self.per_class = rule.per_class
        self.weights = gaussian(patch)
        planes = max(1, CACHED // (patch[1] * patch[2]))
        self.chunks = [slice(at, at + planes) for at in range(0, patch[0], planes)]
        self.weighted = np.empty((min(planes, patch[0]), *patch[1:]), np.float32)
        self.known = np.empty_like(self.weighted)
        # Rows of a window are apart in memory, and numpy takes 10 ns to begin each. As one value of
        # many bytes they are moved at once, which halves the time of 64 x 64 x 32 voxels.
        self.row = np.dtype(f"V{patch[2] * self.weights.itemsize}")
        self.bars = _bars(shape, patch, grid, rule.threshold)
        slab = tuple(patch[i] if i == self.axis else n for i, n in enumerate(shape))
        self.sums = np.zeros((classes, *slab), np.float32)
        self.labels = np.zeros((classes, *shape) if rule.per_class else shape, np.uint8)
        self.start = 0  # the first plane of the slab

    def add(
        self, corners: Sequence[Sequence[int]], answers: Float32[np.ndarray, "batch classes a b c"]
    ) -> None:
        """Add the probabilities of some patches; none may start before an earlier one."""
        wanted = (len(corners), len(self.sums), *self.patch)
        if answers.shape != wanted:
            raise UserError(f"the network gives {answers.shape}, not {wanted} (patches, classes).")
        for corner, answer in zip(corners, answers, strict=True):
            self._finish_before(corner[self.axis])
            place = list(corner)
            place[self.axis] = 0
            window = _window(place, self.patch)
            for total, probability in zip(self.sums, answer, strict=True):
                self._add_one(total[window].view(self.row), probability)

    def _add_one(
        self, rows: Shaped[np.ndarray, "a b 1"], probability: Float32[np.ndarray, "a b c"]
    ) -> None:
        """Add one class of one patch to its window of the sums, row by row."""
        for some in self.chunks:
            place, answer = rows[some], probability[some]
            weighted = np.multiply(answer, self.weights[some], out=self.weighted[: len(answer)])
            known = self.known[: len(answer)]
            known.view(self.row)[...] = place
            weighted += known
            place[...] = weighted.view(self.row)

    def finished(self) -> UInt8[np.ndarray, "*masks x y z"]:
        """All labels, when all patches are in."""
        self._finish_before(len(self.bars[self.axis]))
        return self.labels

    def _finish_before(self, plane: int) -> None:
        """Label what lies before a plane, and move the rest of the slab to its beginning."""
        done = plane - self.start
        if done <= 0:
            return
        places = slice(self.start, plane)
        bars = [bar[places] if i == self.axis else bar for i, bar in enumerate(self.bars)]
        ended = self.sums[_along(self.axis, slice(done))]
        _decide(ended, bars, self.labels[_along(self.axis, places)], self.per_class)
        for total in np.moveaxis(self.sums, self.axis + 1, 1):
            total[:-done] = total[done:]
            total[-done:] = 0
        self.start = plane


def _decide(
    sums: Float32[np.ndarray, "classes a b c"],
    bars: Sequence[Float32[np.ndarray, " _"]],
    labels: UInt8[np.ndarray, "*masks a b c"],
    per_class: bool,
) -> None:
    """Write labels, plane by plane: each class passes once, through the processor's cache."""
    across = bars[1][:, None] * bars[2]
    for place, along in enumerate(bars[0]):
        plane, bar = sums[:, place], along * across
        if per_class:
            labels[:, place] = plane > bar
            continue
        for number, total in enumerate(plane, start=1):
            won = total > bar
            if won.any():
                # Numbers only grow, so that the larger one belongs to the class that won last.
                mine = won.view(np.uint8) * np.uint8(number)
                np.maximum(labels[place], mine, out=labels[place])
                np.maximum(bar, total, out=bar)


def _bars(
    shape: Sequence[int], patch: Patch, grid: Sequence[Sequence[int]], threshold: float
) -> list[Float32[np.ndarray, " _"]]:
    """Three vectors whose product is the threshold times the sum of weights of each voxel.

    Patches stand on a grid and the Gaussian is a product, so the sum of weights is one too.
    """
    found = []
    for length, side, starts in zip(shape, patch, grid, strict=True):
        total = np.zeros(length)
        for start in starts:
            total[start : start + side] += _bell(side)
        found.append(total)
    found[0] *= PEAK * threshold
    return [total.astype(np.float32) for total in found]


def _bell(side: int) -> Float[np.ndarray, " side"]:
    distance = np.arange(side) - (side - 1) / 2
    return np.exp(-0.5 * (distance * SHARPNESS / side) ** 2)


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Where patches start along an axis; the last one is shifted inside."""
    step = max(int(side * (1 - overlap)), 1)
    return [*range(0, length - side, step), length - side]


def _padded(
    image: Float[np.ndarray, "x y z"], patch: Patch
) -> tuple[Float[np.ndarray, "X Y Z"], tuple[Any, ...]]:
    """An image no smaller than a patch, and where in it the given one lies."""
    missing = [max(side - n, 0) for n, side in zip(image.shape, patch, strict=True)]
    before = [m // 2 for m in missing]
    inside = (..., *_window(before, image.shape))
    if not any(missing):
        return image, inside
    return np.pad(image, [(b, m - b) for b, m in zip(before, missing, strict=True)]), inside


def _cut(
    image: Float[np.ndarray, "x y z"], corners: Sequence[Sequence[int]], patch: Patch
) -> Float32[np.ndarray, "batch 1 a b c"]:
    patches = [image[None][(..., *_window(corner, patch))] for corner in corners]
    return np.stack(patches, dtype=np.float32)


def _window(corner: Sequence[int], patch: Sequence[int]) -> tuple[Any, ...]:
    return tuple(slice(at, at + side) for at, side in zip(corner, patch, strict=True))


def _along(axis: int, places: slice) -> tuple[Any, ...]:
    return (..., *(places if i == axis else slice(None) for i in range(3)))


def _refuse_many(classes: int, rule: Rule) -> None:
    if classes > MOST_CLASSES and not rule.per_class:
        raise UserError(
            f"{classes} classes do not fit one label map of 8 bits (most: {MOST_CLASSES}). "
            "Ask for a mask per class."
        )


def _checked(patch: Sequence[int], overlap: float) -> Patch:
    if len(patch) != 3 or min(patch) < 1:
        raise UserError(f"patch {tuple(patch)} needs three sides of at least 1 voxel.")
    if not 0 <= overlap < 1:
        raise UserError(f"overlap {overlap} is not from 0 up to 1, such as 0.5.")
    a, b, c = patch
    return a, b, c
