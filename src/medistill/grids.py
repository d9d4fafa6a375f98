"""Grids of voxels: how they lie in the body, and arrays brought from one grid to another.

Numpy alone: what runs an exported model computes with this.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]
Frame = tuple[float, ...]  # nine numbers, row by row: what stands for right, front and up

WORLD = (("R", "L"), ("A", "P"), ("S", "I"))
"""The ends of each axis of the world, positive first."""

_SAME = 1e-4  # spacings nearer than this share of a voxel are one: headers hold 32-bit numbers


def spacing_mm(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of neighbouring voxels along each axis of the file."""
    lengths: NDArray[np.float64] = np.linalg.norm(affine[:3, :3], axis=0)
    return lengths


def orientation_of(affine: NDArray[np.float64]) -> str:
    """Where each axis of the file points, to the nearest axis of the body: `LPS`, say."""
    letters = [""] * 3
    for world, (axis, positive) in enumerate(_nearest_axes(affine)):
        letters[axis] = WORLD[world][0 if positive else 1]
    return "".join(letters)


def _nearest_axes(affine: NDArray[np.float64]) -> list[tuple[int, bool]]:
    """For each axis of the world the file's axis that runs along it, and whether forwards.

    As nibabel decides it, the most certain axis first: oblique scans turn alike everywhere.
    """
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing_mm(affine))
    cosines: NDArray[np.float64] = left @ right
    found = {}
    for axis in np.argsort(-(cosines**2).max(axis=0)).tolist():
        world = int(np.abs(cosines[:, axis]).argmax())
        found[world] = (axis, bool(cosines[world, axis] > 0))
        cosines[world] = 0
    return [found[world] for world in range(3)]


def turns(
    affine: NDArray[np.float64], orientation: str, frame: Frame | None = None
) -> tuple[Shape, tuple[bool, bool, bool]]:
    """Which axis of a file each axis of this orientation is, and which of them run against it.

    Args:
        affine: From voxels to the world.
        orientation: Where each axis should point.
        frame: Directions that stand for right, front and up; those of the body by default.
    """
    nearest = _nearest_axes(_framed(affine, frame))
    worlds = [_world_axis(letter) for letter in orientation]
    forwards = [letter == WORLD[w][0] for letter, w in zip(orientation, worlds, strict=True)]
    flips = [nearest[w][1] != forward for w, forward in zip(worlds, forwards, strict=True)]
    return triple([nearest[w][0] for w in worlds]), (flips[0], flips[1], flips[2])


def _world_axis(letter: str) -> int:
    """The axis of the world that has an end of this name."""
    return next(world for world, ends in enumerate(WORLD) if letter in ends)


def _framed(affine: NDArray[np.float64], frame: Frame | None) -> NDArray[np.float64]:
    """An affine into the axes of a frame, if there is one, instead of the world's."""
    if frame is None:
        return affine
    changed = affine.copy()
    changed[:3, :3] = np.reshape(frame, (3, 3)).T @ affine[:3, :3]
    return changed


def turned_spacing_mm(
    affine: NDArray[np.float64], orientation: str, frame: Frame | None = None
) -> Triple:
    """Distance of neighbouring voxels along each axis, once turned."""
    axes, _ = turns(affine, orientation, frame)
    x, y, z = spacing_mm(affine)[list(axes)].tolist()
    return x, y, z


def turned_affine(
    affine: NDArray[np.float64], shape: Sequence[int], axes: Sequence[int], flips: Sequence[bool]
) -> NDArray[np.float64]:
    """The affine of an array of this shape once its axes are transposed and flipped."""
    changed = affine.copy()
    for place, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        changed[:, place] = -affine[:, axis] if flip else affine[:, axis]
        if flip:
            changed[:, 3] += affine[:, axis] * (shape[axis] - 1)
    return changed


def corner_gap(one: NDArray[np.float64], other: NDArray[np.float64], shape: Sequence[int]) -> float:
    """The farthest that two affines lay a corner of a grid apart, in voxels."""
    ends = [(0, n - 1) for n in shape]
    corners = np.array([(*corner, 1) for corner in product(*ends)], dtype=np.float64)
    apart = np.linalg.norm(corners @ (one - other).T[:, :3], axis=1).max()
    return float(apart / spacing_mm(one).min())


def flipped(array: NDArray[Any], flips: Sequence[bool]) -> NDArray[Any]:
    """An array with some of its axes run backwards."""
    return array[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def resample(
    array: NDArray[Any], shape: Sequence[int], ratios: Sequence[float], *, nearest: bool
) -> NDArray[Any]:
    """An array on another grid about the same centre, by one axis after the other.

    Args:
        array: Of any type; only of floats may one be made that is not `nearest`.
        shape: Of the result.
        ratios: Its voxels are so many times as long.
        nearest: Whether to take the nearest voxel instead of weighing two.
    """
    # What shrinks comes first: the other axes then have less to do.
    for axis in sorted(range(3), key=lambda axis: shape[axis] / array.shape[axis]):
        old, new = array.shape[axis], shape[axis]
        if new == old and abs(ratios[axis] - 1) < _SAME:
            continue
        wanted = (np.arange(new) - (new - 1) / 2) * ratios[axis] + (old - 1) / 2
        array = _nearest(array, axis, wanted) if nearest else _linear(array, axis, wanted)
    return array


def _linear(array: NDArray[Any], axis: int, wanted: NDArray[np.float64]) -> NDArray[Any]:
    inside = wanted.clip(0, array.shape[axis] - 1)
    low = inside.astype(np.int64)
    high = (low + 1).clip(max=array.shape[axis] - 1)
    share = (inside - low).astype(array.dtype).reshape([-1 if a == axis else 1 for a in range(3)])
    below, above = array.take(low, axis), array.take(high, axis)
    above -= below
    above *= share
    above += below
    return above


def _nearest(array: NDArray[Any], axis: int, wanted: NDArray[np.float64]) -> NDArray[Any]:
    # Half-way between two voxels the one nearer to the centre: so a mirrored scan gives the
    # mirrored mask, and a mask does not drift to one side.
    last = array.shape[axis] - 1
    up, down = np.floor(wanted + 0.5 + 1e-6), np.ceil(wanted - 0.5 - 1e-6)
    places = np.where(wanted < last / 2, up, down).clip(0, last)
    return array.take(places.astype(np.int64), axis)


def triple(numbers: Sequence[int]) -> Shape:
    """Three whole numbers, as plain ones."""
    x, y, z = (int(number) for number in numbers)
    return x, y, z
