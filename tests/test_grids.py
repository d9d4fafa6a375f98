"""Grids of voxels: directions in the body, and arrays from one grid to another."""

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from medistill.grids import corner_gap, orientation_of, resample, turned_affine, turns
from tests.volumes import oblique, straight


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_directions_are_named_as_nibabel_names_them(seed: int) -> None:
    affine = oblique(seed=seed)
    assert orientation_of(affine) == "".join(nibabel.aff2axcodes(affine))


@given(st.integers(0, 10**6), st.sampled_from(["RAS", "LPS", "ASR", "PIR"]))
@settings(max_examples=40, deadline=None)
def test_a_turned_array_points_where_it_should(seed: int, wanted: str) -> None:
    affine = oblique(seed=seed)
    turned = turned_affine(affine, (4, 5, 6), *turns(affine, wanted))
    assert orientation_of(turned) == wanted


def test_turning_moves_no_voxel_in_the_world() -> None:
    affine, shape = oblique(seed=3), (4, 5, 6)
    axes, flips = turns(affine, "RAS")
    turned = turned_affine(affine, shape, axes, flips)
    voxel = np.array([1, 2, 3])
    moved = [shape[a] - 1 - voxel[a] if f else voxel[a] for a, f in zip(axes, flips, strict=True)]
    assert np.allclose(affine @ [*voxel, 1], turned @ [*moved, 1])


def test_a_corner_gap_counts_voxels() -> None:
    moved = straight((2, 2, 4))
    moved[0, 3] = 3
    assert corner_gap(straight((2, 2, 4)), moved, (5, 5, 5)) == pytest.approx(1.5)


def test_the_same_grid_gives_the_same_array() -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 6))
    assert resample(array, array.shape, [1.0, 1.0, 1.0], nearest=False) is array


def test_a_line_stays_a_line_between_its_ends() -> None:
    ramp = np.arange(8, dtype=np.float32)[:, None, None].repeat(2, 1).repeat(2, 2)
    finer = resample(ramp, (16, 2, 2), [0.5, 1.0, 1.0], nearest=False)[:, 0, 0]
    assert np.allclose(finer[1:-1], np.arange(14) * 0.5 + 0.25)
    assert (finer[0], finer[-1]) == (0, 7)


@pytest.mark.parametrize("shape", [(16, 10, 12), (4, 5, 3), (16, 5, 6)])
def test_whole_factors_agree_with_torch(shape: tuple[int, int, int]) -> None:
    array = np.random.default_rng(0).normal(size=(8, 5, 6)).astype(np.float32)
    ratios = [old / new for old, new in zip(array.shape, shape, strict=True)]
    theirs = F.interpolate(torch.from_numpy(array)[None, None], shape, mode="trilinear")[0, 0]
    assert np.allclose(resample(array, shape, ratios, nearest=False), theirs, atol=1e-5)


@given(st.integers(2, 12), st.integers(2, 12), st.floats(0.3, 3))
@settings(max_examples=40, deadline=None)
def test_a_mirrored_mask_is_resampled_to_the_mirrored_mask(
    old: int, new: int, ratio: float
) -> None:
    array = np.arange(old, dtype=np.uint8)[:, None, None]
    there = resample(array, (new, 1, 1), [ratio, 1.0, 1.0], nearest=True)
    back = resample(array[::-1], (new, 1, 1), [ratio, 1.0, 1.0], nearest=True)[::-1]
    # The middle of an odd grid is half-way between two voxels and has no side to prefer.
    sure = np.arange(new) != (new - 1) / 2
    assert (there[sure] == back[sure]).all()
