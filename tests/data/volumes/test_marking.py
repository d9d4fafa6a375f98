"""Labels come onto the grid of their scan, under the numbers of the data set's classes."""

import numpy as np
import pytest

from medistill.data.volumes.marking import aligned, some_places, voxels_of
from medistill.grids import flipped, turned_affine
from medistill.scans import Scan, UnreadableScan
from tests.volumes import label, oblique, pixels, scan, straight

AXES, FLIPS = (2, 0, 1), (True, False, True)


def test_a_label_stored_with_other_axes_is_turned_to_its_scan() -> None:
    affine = oblique((1, 1.5, 3))
    values = flipped(label().transpose(AXES), FLIPS).astype(np.float32)
    stored = Scan(values, turned_affine(affine, label().shape, AXES, FLIPS))
    found, gap = aligned(stored, scan(pixels(), affine))
    assert (found.pixels == label()).all()
    assert gap == pytest.approx(0, abs=1e-6)


def test_a_label_with_a_careless_header_is_taken_voxel_by_voxel() -> None:
    values, affine = label(), straight((1, 1, 4))
    affine[:3, 3] = 100, 0, 0
    found, gap = aligned(scan(values, affine), scan(pixels(), straight((1, 1, 4))))
    assert (found.pixels == values).all()
    assert gap == pytest.approx(100)


@pytest.mark.parametrize("way", ["LAS", "LPS"])
@pytest.mark.parametrize("lost", [np.eye(4), straight((1, 1.5, 3))], ids=["nothing", "spacing"])
def test_a_label_whose_header_lost_its_directions_is_not_mirrored(
    way: str, lost: np.ndarray
) -> None:
    signs = [-1.0 if letter in "LPI" else 1.0 for letter in way]
    affine = straight(np.multiply((1, 1.5, 3), signs))
    affine[:3, 3] = 90, 110, -60
    values = np.random.default_rng(0).integers(0, 3, (12, 12, 10))  # as a cube is, it fits any way
    found, gap = aligned(scan(values, lost), scan(pixels(shape=(12, 12, 10)), affine))
    assert (found.pixels == values).all()
    assert (found.affine == affine).all()
    assert gap > 50


def test_a_label_is_turned_though_its_header_rounds() -> None:
    affine = straight((-1, -1.5, 3))
    affine[:3, 3] = 90, 110, -60
    turned = turned_affine(affine, label().shape, (0, 1, 2), (True, True, False))
    turned[:3, 3] += 0.5  # the corner of its first voxel in place of the centre
    stored = scan(flipped(label(), (True, True, False)), turned)
    found, gap = aligned(stored, scan(pixels(), affine))
    assert (found.pixels == label()).all()
    assert 0.5 < gap < 1


def test_a_label_that_only_fits_turned_by_a_header_that_lost_its_origin_is_refused() -> None:
    turned = turned_affine(straight(), label().shape, AXES, FLIPS)
    turned[:3, 3] += 100
    values = flipped(label().transpose(AXES), FLIPS)
    with pytest.raises(UnreadableScan, match="its label has 10x12x14 voxels, it has 12x14x10"):
        aligned(scan(values, turned), scan(pixels()))


def test_of_two_ways_that_fit_the_headers_choose() -> None:
    cube = np.random.default_rng(0).integers(0, 3, (6, 6, 6))
    stored = scan(flipped(cube, FLIPS), turned_affine(straight(), (6, 6, 6), (0, 1, 2), FLIPS))
    found, gap = aligned(stored, scan(cube))
    assert (found.pixels == cube).all()
    assert gap == 0


def test_a_label_of_another_shape_is_refused() -> None:
    with pytest.raises(UnreadableScan, match="its label has 12x14x9 voxels, it has 12x14x10"):
        aligned(scan(label()[:, :, :9]), scan(pixels()))


@pytest.mark.parametrize("overlapping", [False, True])
def test_places_are_voxels_of_their_class(overlapping: bool) -> None:
    marked = np.stack([label() == 1, label() > 0]).astype(np.uint8) if overlapping else label()
    for place, *voxel in some_places(marked, most=5).tolist():
        assert marked[(place, *voxel)] if overlapping else marked[tuple(voxel)] == place + 1


def test_places_are_few_and_of_every_class() -> None:
    found = some_places(label(), most=5)
    assert np.bincount(found[:, 0]).tolist() == [5, 5]
    assert len(some_places(np.zeros((3, 3, 3), np.uint8))) == 0


def test_voxels_are_counted_class_by_class() -> None:
    assert voxels_of(label(), 3) == [27, 27, 0]
    assert voxels_of(np.stack([label() > 0, label() == 1]).astype(np.uint8), 2) == [54, 27]
