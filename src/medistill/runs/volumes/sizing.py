"""How large a patch is, where a recipe does not say."""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from medistill.data.volumes.dataset import VolumeDataset

Sides = tuple[int, int, int]

# 51 x 51 x 51 voxels: the whole of a hippocampus, and a step of a small network in a second or two
# on one core of a processor.
VOXELS = 131_072


def median_shape(datasets: Sequence[VolumeDataset]) -> Sides:
    """Sides of the middle training volume; of several data sets, the largest along each axis.

    Where nothing is to be trained on, of the middle volume of all splits.
    """
    a, b, c = np.max([_middle(dataset) for dataset in datasets], axis=0).tolist()
    return a, b, c


def patch_for(shape: Sides, stride: Sides, voxels: int = VOXELS) -> Sides:
    """The largest patch of a volume that a network takes and that holds no more voxels.

    Args:
        shape: Of the volume. A patch may stand a little over it, since padding costs less than a
            second patch.
        stride: Sides are multiples of it, and at least twice as long.
        voxels: Of a patch at most, unless the smallest one has more.
    """
    sides = [
        max(2 * step, -(-length // step) * step) for length, step in zip(shape, stride, strict=True)
    ]
    while prod(sides) > voxels:
        # The longest side gives way, so that a patch is a cube where it can be.
        for axis in np.argsort(sides)[::-1].tolist():
            if sides[axis] > 2 * stride[axis]:
                sides[axis] -= stride[axis]
                break
        else:
            break
    a, b, c = sides
    return a, b, c


def _middle(dataset: VolumeDataset) -> NDArray[np.int64]:
    rows = dataset.splits["train"].tolist()
    rows = rows or [row for own in dataset.splits.values() for row in own.tolist()]
    sizes = [trace.size for row in rows if (trace := dataset.traces[row]) is not None]
    middle: NDArray[np.int64] = np.ceil(np.median(sizes, axis=0)).astype(np.int64)
    return middle
