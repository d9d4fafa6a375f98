"""Scans whose slices lie between the axes of the body get directions of their own."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.data.volumes.facts import Facts
from medistill.data.volumes.turning import _frame_of, _slice_axes, common_frame
from medistill.grids import turned_affine, turns

ORDERS = [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)]


def about(angle: float, spacing: Sequence[float], axis: int = 0) -> np.ndarray:
    """Axes turned about one of the body's, each as long as its spacing."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    first, second = (each for each in range(3) if each != axis)
    turned = np.eye(3)
    turned[first, first] = turned[second, second] = cosine
    turned[first, second], turned[second, first] = -sine, sine
    return turned * spacing


def facts(axes: np.ndarray) -> Facts:
    return Facts(source="a", file_digest="b", axes_mm=tuple(axes.ravel().tolist()))


def oblique(*angles: float, spacing: Sequence[float] = (1.0, 1.0, 8.0)) -> list[Facts]:
    return [facts(about(angle, spacing)) for angle in angles]


def test_slices_along_one_axis_of_the_body_need_no_frame() -> None:
    assert common_frame(oblique(0, 3, -5, 20)) is None
    assert common_frame(oblique(90, 85, 100)) is None


def test_voxels_that_are_nearly_cubes_have_no_slices() -> None:
    assert common_frame(oblique(0, 44, 46, 90, spacing=(1.0, 1.2, 1.4))) is None


def test_slices_on_both_sides_of_the_middle_get_one_axis_in_common() -> None:
    scans = oblique(40, 44, 47, 52)
    assert _slice_axes(scans, None) == {1, 2}
    frame = common_frame(scans)
    assert frame is not None
    assert _slice_axes(scans, frame) == {2}
    # So the spacing of the slices is that of all of them, whichever side they are on.
    for scan in scans:
        assert scan.spacing_mm(frame) == pytest.approx((1, 1, 8))


def test_a_frame_is_the_least_turn_with_slices_along_its_last_axis() -> None:
    frame = common_frame(oblique(40, 46, 50))
    assert frame is not None
    # The slices' axis leans 46 degrees to the back: pointed forwards, it would mirror the body.
    np.testing.assert_allclose(np.reshape(frame, (3, 3)), about(46, (1, 1, 1)), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(1.0, 1.1, 8.0), (1.0, 8.0, 1.1), (8.0, 1.1, 1.0)]))
def test_a_frame_is_right_handed_whatever_the_file_is(
    seed: int, spacing: tuple[float, ...]
) -> None:
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))  # or a mirror image
    frame = np.reshape(_frame_of(facts(turned * spacing)), (3, 3))
    np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=1e-9)
    assert np.linalg.det(frame) == pytest.approx(1)
    slices = turned[:, np.argmax(spacing)]
    assert abs(frame[:, 2] @ slices) == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3), st.floats(30, 42), st.floats(48, 60))
def test_no_scan_is_mirrored_by_the_frame_of_all(
    signs: tuple[float, ...], least: float, most: float
) -> None:
    scans = [facts(about(angle, (1, 1, 8)) * signs) for angle in (least, 45.5, most)]
    frame = common_frame(scans)
    assert frame is not None
    for scan in scans:
        axes, flips = turns(scan.affine, "RAS", frame)
        shown = turned_affine(scan.affine, (5, 6, 7), axes, flips)
        assert np.linalg.det(shown[:3, :3]) > 0


def test_a_frame_is_in_the_middle_of_the_scans() -> None:
    frame = common_frame(oblique(35, 46, 55))
    assert frame is not None
    across = np.reshape(frame, (3, 3))[:, 2]
    wanted = about(46, (1, 1, 1))[:, 2]
    assert abs(across @ wanted) == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(ORDERS), st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3), st.integers(0, 2))
def test_it_does_not_depend_on_how_the_files_were_written(
    order: tuple[int, ...], signs: tuple[float, ...], axis: int
) -> None:
    spacing = (1.0, 1.1, 8.0) if axis != 2 else (1.0, 8.0, 1.1)
    axes = [about(angle, spacing, axis) for angle in (41.0, 44.0, 48.0)]
    stored = [own[:, list(order)] * signs for own in axes]
    frame, again = (common_frame([facts(own) for own in each]) for each in (axes, stored))
    assert (frame is None) == (again is None)
    if frame is not None and again is not None:
        np.testing.assert_allclose(again, frame, atol=1e-9)


def test_slices_at_right_angles_have_no_frame_in_common() -> None:
    # Sagittal ones beside axial ones: no directions are near to both.
    scans = [facts(np.diag([8.0, 1.0, 1.0])), facts(np.diag([1.0, 1.0, 8.0]))]
    assert common_frame(scans) is None
