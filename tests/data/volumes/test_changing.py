"""A patch may differ from its volume as a scanner would have it, and the keys alone say how."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.data.volumes.changing import PatchAugmentation, _bent, _blurred

ALWAYS = PatchAugmentation(chance=1.0)
NOTHING = PatchAugmentation(chance=1.0, zoom=0.0, scale=0.0, gamma=0.0, noise=0.0, sharpen=0.0)
IMAGE = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
KEYS = st.tuples(*[st.integers(0, 2**31)] * 3)
few = settings(max_examples=40, deadline=None)


@few
@given(KEYS)
def test_the_keys_alone_decide_and_the_patch_stays_as_it_is(keys: tuple[int, ...]) -> None:
    before, augmentation = IMAGE.copy(), PatchAugmentation()
    first, again = (augmentation.change(IMAGE, *keys) for _ in range(2))
    assert (first == again).all() and first.dtype == np.float32
    assert augmentation.zoom_of(*keys) == augmentation.zoom_of(*keys)
    assert (before == IMAGE).all()


@few
@given(KEYS)
def test_no_change_goes_further_than_it_is_allowed_to(keys: tuple[int, ...]) -> None:
    assert abs(ALWAYS.zoom_of(*keys) - 1) <= ALWAYS.zoom
    scaled = replace(NOTHING, scale=0.25).change(IMAGE, *keys)
    ratio = float((scaled / IMAGE).mean())
    assert 0.75 <= ratio <= 1.25
    np.testing.assert_allclose(scaled, ratio * IMAGE, rtol=1e-5, atol=1e-6)
    noise = replace(NOTHING, noise=0.15).change(IMAGE, *keys) - IMAGE
    assert noise.std() < 0.15 * 1.3  # of 120 numbers: 4 standard errors


@few
@given(KEYS)
def test_bent_mid_tones_keep_the_range_and_the_order(keys: tuple[int, ...]) -> None:
    bent = replace(NOTHING, gamma=0.3).change(IMAGE, *keys)
    np.testing.assert_allclose([bent.min(), bent.max()], [IMAGE.min(), IMAGE.max()], rtol=1e-6)
    assert (np.diff(bent.ravel()[IMAGE.argsort(axis=None)]) >= 0).all()


def test_an_exponent_of_one_bends_nothing_and_an_even_patch_is_left() -> None:
    np.testing.assert_allclose(_bent(IMAGE, 1.0), IMAGE, atol=1e-6)
    even = np.full((2, 2, 2), 3.0, np.float32)
    assert _bent(even, 0.7) is even


def test_a_change_of_no_size_is_none_although_it_happens() -> None:
    np.testing.assert_allclose(NOTHING.change(IMAGE, 1, 2, 3), IMAGE, atol=1e-6)
    assert NOTHING.zoom_of(1, 2, 3) == 1


def test_each_change_happens_as_often_as_its_chance_and_by_itself() -> None:
    # Each kind of change leaves a trace of its own in a patch of few voxels.
    image, often = np.array([[[-1.0, 0.0, 3.0]]], np.float32), PatchAugmentation(chance=0.3)
    kinds = {
        "zoom": lambda key: often.zoom_of(0, key, 0) != 1,
        "scale": lambda key: changed(replace(often, gamma=0.0, noise=0.0, sharpen=0.0), key),
        "gamma": lambda key: changed(replace(often, scale=0.0, noise=0.0, sharpen=0.0), key),
        "noise": lambda key: changed(replace(often, scale=0.0, gamma=0.0, sharpen=0.0), key),
        "sharpen": lambda key: changed(replace(often, scale=0.0, gamma=0.0, noise=0.0), key),
    }

    def changed(augmentation: PatchAugmentation, key: int) -> bool:
        return not np.allclose(augmentation.change(image, 0, key, 0), image, atol=1e-6)

    happened = np.array([[look(key) for look in kinds.values()] for key in range(300)])
    shares = happened.mean(0)
    # Binomial with p = 0.3 of 300: four standard errors are 0.106.
    assert shares == pytest.approx(np.full(5, 0.3), abs=0.106), dict(
        zip(kinds, shares, strict=True)
    )
    together = np.corrcoef(happened.T.astype(float))
    assert np.abs(together - np.eye(5)).max() < 0.23  # 4 / sqrt(300)


@few
@given(KEYS)
def test_what_is_sharpened_stands_out_more_and_keeps_its_mean(keys: tuple[int, ...]) -> None:
    edge = np.zeros((6, 8, 8), np.float32)
    edge[:, 2:6, 2:6] = 1
    sharp = replace(NOTHING, sharpen=2.0).change(edge, *keys)
    # Inside and far outside nothing changes; on either side of the edge values part.
    assert sharp[3, 3, 3] <= sharp[3, 2, 3] and sharp[3, 1, 3] <= sharp[3, 0, 3]
    assert sharp.max() - sharp.min() >= 1
    assert sharp.max() <= 1 + 2.0 * (1 - 0.75**2) + 1e-5  # at a corner, at its strongest
    assert sharp.mean() == pytest.approx(edge.mean(), abs=1e-5)


def test_a_blur_is_the_mean_with_both_neighbours_along_each_axis() -> None:
    point = np.zeros((3, 4, 5), np.float32)
    point[1, 2, 2] = 1
    taps = np.array([0.25, 0.5, 0.25])
    wanted = np.zeros_like(point)
    wanted[:, 1:4, 1:4] = np.einsum("i,j,k->ijk", taps, taps, taps)
    np.testing.assert_allclose(_blurred(point), wanted, atol=1e-7)
    np.testing.assert_allclose(_blurred(np.ones((2, 3, 1), np.float32)), 1, atol=1e-6)


def test_noise_of_two_patches_is_not_the_same() -> None:
    noisy = replace(NOTHING, noise=0.15)
    first, second = (noisy.change(np.zeros_like(IMAGE), 0, key, 0) for key in (1, 2))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.4  # 4 / sqrt(120)
