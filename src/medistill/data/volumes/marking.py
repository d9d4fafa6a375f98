"""Labels of a scan: brought onto its grid, and under the numbers of the data set's classes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from medistill.data.volumes.layouts.base import Case, VolumeLayout
from medistill.grids import corner_gap, flipped, turned_affine, turns
from medistill.scans import Scan, Trace, UnreadableScan, orientation_of, prepare_label

_BEYOND = 2**30  # any class' value, and exact in a float
_FITS = 1.0  # voxel: corners of voxels taken for their centres are sqrt(3) / 2 apart


def aligned(label: Scan, scan: Scan) -> tuple[Scan, float]:
    """A label with the axes of its scan, and how far its header lays it off, in voxels.

    It is turned where the directions in the two headers then lay it on the scan. Else it is taken
    voxel by voxel: a header that lost its origin or its directions tells of no turn.

    Raises:
        UnreadableScan: Its shape does not fit.
    """
    shape, ways = scan.pixels.shape, [label]
    orientation = orientation_of(scan.affine)
    if orientation_of(label.affine) != orientation:
        turned = _as(orientation, label)
        ways += [turned] if _gap(turned, scan) < _FITS else []
    # Two axes at 45 degrees have other names by a rounding: there both ways may fit.
    gap, place = min((_gap(way, scan), place) for place, way in enumerate(ways))
    if not np.isfinite(gap):
        told = "x".join(map(str, label.pixels.shape))
        raise UnreadableScan(f"its label has {told} voxels, it has {'x'.join(map(str, shape))}")
    return replace(ways[place], affine=scan.affine), gap


def whole_numbers(label: Scan) -> NDArray[np.int32]:
    """The values of a label map, rounded; what is no number is background."""
    rounded = np.rint(label.pixels)
    rounded[~np.isfinite(rounded)] = 0
    # What 32 bits do not hold would wrap around, perhaps onto a class.
    return np.clip(rounded, -_BEYOND, _BEYOND).astype(np.int32)


def label_map(marks: Sequence[Scan], case: Case, layout: VolumeLayout) -> NDArray[np.uint8]:
    """Classes of each voxel: (x, y, z) with 1 + the place of a class, or (classes, x, y, z).

    Args:
        marks: On the scan's grid: one label map, or a mask for each class of the case.
        case: Whose they are.
        layout: Its classes are numbered in their order.
    """
    places = {name: place for place, name in enumerate(layout.classes())}
    names = case.classes or layout.classes()
    if len(marks) > 1 or case.masks:
        masks = {places[n]: m.pixels > 0.5 for n, m in zip(names, marks, strict=True)}
        return _joined(masks, len(places))
    values = {places[name]: own for name, own in layout.values_in(case).items()}
    numbers = whole_numbers(marks[0])
    told = list(chain.from_iterable(values.values()))
    # A value of two classes, as nnU-Net's regions have: no single map can hold both.
    if len(set(told)) < len(told):
        return _joined({p: np.isin(numbers, own) for p, own in values.items()}, len(places))
    return _mapped(numbers, values, max(told))


def _mapped(
    numbers: NDArray[np.int32], values: Mapping[int, Sequence[int]], largest: int
) -> NDArray[np.uint8]:
    """1 + the place of the class that has a voxel's number."""
    table = np.zeros(largest + 2, np.uint8)
    for place, own in values.items():
        table[list(own)] = place + 1
    # What is not named is background; a finding tells of it.
    return table[np.where((numbers < 0) | (numbers > largest), 0, numbers)]


def prepared_label(marked: NDArray[np.uint8], scan: Scan, trace: Trace) -> NDArray[np.uint8]:
    """The label map on the grid of the prepared scan."""
    if marked.ndim == 4:
        return np.stack([prepared_label(each, scan, trace) for each in marked])
    # As floats, since a scan is resampled as floats; of nearest neighbours none is rounded.
    return prepare_label(replace(scan, pixels=marked.astype(np.float32)), trace)


def some_places(label: NDArray[np.uint8], most: int = 512) -> NDArray[np.int32]:
    """Some voxels of each class, (voxels, 4): its place, x, y, z; spread over all that it has."""
    classes = range(len(label)) if label.ndim == 4 else range(int(label.max(initial=0)))
    found = [np.empty((0, 4), np.int32)]
    for place in classes:
        where = np.flatnonzero(label[place] if label.ndim == 4 else label == place + 1)
        if len(where) > most:
            # Evenly along memory, and so over all slices; the first ones would lie in one corner.
            where = where[np.linspace(0, len(where) - 1, most).astype(np.int64)]
        voxels = np.stack(np.unravel_index(where, label.shape[-3:]), axis=1)
        found.append(np.insert(voxels, 0, place, axis=1).astype(np.int32))
    return np.concatenate(found)


def voxels_of(marked: NDArray[np.uint8], classes: int) -> list[int]:
    """How many voxels each class has."""
    if marked.ndim == 4:
        return [int(each.sum()) for each in marked]
    counts: list[int] = np.bincount(marked.ravel(), minlength=classes + 1)[1:].tolist()
    return counts


def _as(orientation: str, label: Scan) -> Scan:
    axes, flips = turns(label.affine, orientation)
    pixels = np.ascontiguousarray(flipped(label.pixels.transpose(axes), flips))
    affine = turned_affine(label.affine, label.pixels.shape, axes, flips)
    return replace(label, pixels=pixels, affine=affine)


def _gap(label: Scan, scan: Scan) -> float:
    """How far the headers lay the two apart, in voxels; infinite where the shapes differ."""
    if label.pixels.shape != scan.pixels.shape:
        return np.inf
    return corner_gap(scan.affine, label.affine, scan.pixels.shape)


def _joined(masks: Mapping[int, NDArray[np.bool_]], classes: int) -> NDArray[np.uint8]:
    """One map where no voxel is of two classes, else a mask for each class."""
    shape = next(iter(masks.values())).shape
    whole, taken = np.zeros(shape, np.uint8), np.zeros(shape, np.bool_)
    for place, mask in masks.items():
        if (taken & mask).any():
            stack = np.zeros((classes, *shape), np.uint8)
            for each, own in masks.items():
                stack[each] = own
            return stack
        whole[mask] = place + 1
        taken |= mask
    return whole
