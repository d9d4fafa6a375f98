"""Distances of surfaces: by hand, as published, and against a formula written naively."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from medistill.evaluation.metrics.surface import around, hd95_mm, surface_dice

FLAT = (1.0, 1.0, 3.0)  # of the papers: slices three millimetres apart


def box(low, high, shape=(14, 13, 12)):
    """A mask that is one box."""
    found = np.zeros(shape, bool)
    found[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return found


def voxel(*place, shape=(12, 12, 12)):
    found = np.zeros(shape, bool)
    found[place] = True
    return found


def elements(mask, spacing):
    """Area and place of each surface element of a box, from the voxels around each corner."""
    padded, step, found = np.pad(mask, 1), np.array(spacing), []
    for corner in product(*(range(side - 1) for side in padded.shape)):
        cell = padded[tuple(slice(c, c + 2) for c in corner)]
        inside = np.argwhere(cell if cell.sum() <= 4 else ~cell)
        if len(inside) in (1, 2, 4):
            along = [axis for axis in range(3) if len(set(inside[:, axis])) == 2]
            found.append((area(step, along), (np.array(corner) - 0.5) * step))
    return found


def area(step, along):
    """Of the cut through a cell of eight voxels: a corner, an edge or a face of the box."""
    across = [axis for axis in range(3) if axis not in along]
    if len(along) == 2:
        return step[along].prod()
    if len(along) == 1:
        return step[along[0]] * np.hypot(*step[across] / 2)
    x, y, z = step / 2
    return np.linalg.norm([y * z, x * z, x * y]) / 2


def naive_surface_dice(first, second, spacing, tolerance):
    sides = [elements(mask, spacing) for mask in (first, second)]
    within = whole = 0.0
    for own, other in (sides, sides[::-1]):
        for size, place in own:
            nearest = min(np.linalg.norm(place - there) for _, there in other)
            whole += size
            within += size * (nearest <= tolerance)
    return within / whole


class TestSurfaceDice:
    def test_perfect_mask_reaches_one(self):
        one = box((2, 2, 2), (9, 8, 7))
        assert surface_dice(one, one, FLAT) == 1

    def test_shift_within_the_tolerance_is_no_error(self):
        one, shifted = box((2, 2, 2), (9, 8, 7)), box((3, 2, 2), (10, 8, 7))
        assert surface_dice(shifted, one, FLAT) == 1

    def test_shift_by_a_slice_of_three_millimetres_is_one(self):
        one, shifted = box((2, 2, 2), (9, 8, 7)), box((2, 2, 3), (9, 8, 8))
        assert surface_dice(shifted, one, FLAT) < 1
        assert surface_dice(shifted, one, FLAT, tolerance_mm=3.0) == 1

    # Values of the tests of the published metric, google-deepmind/surface-distance.
    def test_two_voxels_two_millimetres_apart_are_half_right(self):
        found = surface_dice(voxel(5, 6, 7), voxel(5, 6, 9), (3.0, 2.0, 1.0))
        assert found == pytest.approx(0.5, abs=1e-6)

    def test_two_halves_of_a_scan_have_the_published_value_at_its_border_too(self):
        shape = (100, 100, 100)
        found = surface_dice(
            box((0, 0, 0), (51, 100, 100), shape), box((0, 0, 0), (50, 100, 100), shape),
            (2.0, 1.0, 1.0),
        )  # fmt: skip
        # Published to three digits.
        assert found == pytest.approx(0.836, abs=5e-4)

    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), FLAT, (0.7, 1.3, 2.1)])
    @pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.5])
    def test_value_is_that_of_the_formula_written_naively(self, spacing, tolerance):
        one, other = box((2, 3, 2), (9, 8, 8)), box((3, 3, 1), (8, 11, 6))
        expected = naive_surface_dice(one, other, spacing, tolerance)
        assert surface_dice(one, other, spacing, tolerance) == pytest.approx(expected, abs=1e-5)
        assert 0 < expected < 1

    def test_nothing_to_find_is_right_if_nothing_is_found(self):
        some, nothing = voxel(5, 5, 5), np.zeros((12, 12, 12), bool)
        assert surface_dice(nothing, nothing, FLAT) == 1
        assert surface_dice(some, nothing, FLAT) == 0
        assert surface_dice(nothing, some, FLAT) == 0


class TestHausdorff:
    def test_distance_counts_millimetres(self):
        assert hd95_mm(voxel(5, 5, 5), voxel(5, 5, 7), FLAT) == pytest.approx(6)

    def test_equal_masks_are_nowhere_apart(self):
        one = box((2, 2, 2), (9, 8, 7))
        assert hd95_mm(one, one, FLAT) == 0

    def test_the_worse_direction_counts(self):
        near, both = voxel(2, 2, 2), voxel(2, 2, 2) | voxel(2, 8, 2)
        assert hd95_mm(near, both, FLAT) == hd95_mm(both, near, FLAT) == pytest.approx(5.7)

    def test_it_is_unknown_where_there_is_no_surface(self):
        some, nothing = voxel(5, 5, 5), np.zeros((12, 12, 12), bool)
        assert hd95_mm(some, nothing, FLAT) is None
        assert hd95_mm(nothing, some, FLAT) is None


class TestAround:
    def test_box_holds_both_and_an_empty_border(self):
        one, other = around(box((2, 3, 4), (5, 6, 7)), voxel(9, 3, 4, shape=(14, 13, 12)))
        assert one.shape == other.shape == (10, 5, 5)
        assert (one.sum(), other.sum()) == (27, 1)
        assert not (one | other)[0].any()

    def test_metrics_are_those_of_the_whole_scan(self):
        wide = (60, 50, 40)
        one, other = box((2, 3, 2), (9, 8, 8)), box((3, 3, 1), (8, 11, 6))
        far = [box((22, 23, 12), (29, 28, 18), wide), box((23, 23, 11), (28, 31, 16), wide)]
        assert surface_dice(one, other, FLAT) == surface_dice(*far, FLAT)
        assert hd95_mm(one, other, FLAT) == hd95_mm(*far, FLAT)


def test_monai_waits_until_a_surface_is_measured() -> None:
    code = "import medistill.evaluation.volumes, sys; print('monai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_who_lacks_monai_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from medistill.errors import UserError

    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(UserError, match=r"pip install 'medistill\[seg\]'"):
        surface_dice(voxel(5, 5, 5), voxel(5, 5, 6), FLAT)
