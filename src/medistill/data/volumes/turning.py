"""Directions of their own for scans that lie between the axes of the body."""

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from medistill.data.volumes.facts import Facts
from medistill.grids import Frame, turns

_THICK = 1.5  # times as far apart as in the plane: slices, and not voxels of nearly equal sides
_ASKED = 50  # scans whose directions may become those of all


def common_frame(facts: Sequence[Facts]) -> Frame | None:
    """What stands for right, front and up in scans whose slices lie between those.

    A heart's short axis is half-way between two axes of the body. Which of them is nearer is then
    chance, so slices would lie now along the one, now along the other, and the median of their
    spacings would blur half of the scans. Directions of a scan in their middle are near to all of
    them; unlike the axes as stored they do not depend on who wrote the file. They are
    right-handed, as those of the body are: nothing is mirrored.

    Returns:
        None where slices lie along one axis of the body in all scans, or in none of these frames.
    """
    if len(_slice_axes(facts, None)) < 2:
        return None
    # The worst agreement decides, not the mean: no scan may be turned far.
    frames = [_frame_of(one) for one in facts[:_ASKED]]
    chosen = max(frames, key=lambda frame: min(_agreement(one, frame) for one in facts))
    return chosen if len(_slice_axes(facts, chosen)) == 1 else None


def _slice_axes(facts: Sequence[Facts], frame: Frame | None) -> set[int]:
    """Along which axes the slices of some of the scans lie, of those that have thick ones."""
    spacings = np.array([one.spacing_mm(frame) for one in facts])
    thick = spacings.max(axis=1) > _THICK * spacings.min(axis=1)
    return set(spacings[thick].argmax(axis=1).tolist())


def _directions(facts: Facts) -> NDArray[np.float64]:
    """Of the axes of a file, at right angles."""
    # The nearest right angles to rounded or sheared axes (orthogonal Procrustes problem).
    left, _, right = np.linalg.svd(
        facts.affine[:3, :3] / np.linalg.norm(facts.affine[:3, :3], axis=0)
    )
    directions: NDArray[np.float64] = left @ right
    return directions


def _frame_of(facts: Facts) -> Frame:
    """Its own directions, across the slices last: of the right-handed ways the least turn."""
    directions = _directions(facts)
    across = int(np.linalg.norm(facts.affine[:3, :3], axis=0).argmax())
    plane = (axis for axis in range(3) if axis != across)
    ways = [
        directions[:, [*pair, across]] * signs
        for pair in permutations(plane)
        for signs in product((1.0, -1.0), repeat=3)
    ]
    # A left-handed frame would show every body as its mirror image, the liver on the left.
    turned = [way for way in ways if np.linalg.det(way) > 0]
    return tuple(max(turned, key=_nearness).ravel().tolist())


def _nearness(frame: NDArray[np.float64]) -> tuple[float, float]:
    """How small a turn leads from the axes of the body to a frame: the larger, the smaller."""
    # The trace is 1 + 2 cos(angle). Where an axis is at right angles to the one that it stands
    # for, two ways are equal, up to rounding: there the axes that point forwards decide.
    strongest = frame[np.abs(frame).argmax(axis=0), range(3)]
    return round(float(np.trace(frame)), 6), round(float(strongest.sum()), 6)


def _agreement(facts: Facts, frame: Frame) -> float:
    """How near the axes of a scan are to those of a frame: 3 if they are the same."""
    axes, _ = turns(facts.affine, "RAS", frame)
    cosines = np.abs(np.reshape(frame, (3, 3)).T @ _directions(facts))
    return float(cosines[range(3), axes].sum())
