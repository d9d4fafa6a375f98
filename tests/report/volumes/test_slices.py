"""Slices with outlines: which cases, which planes, the right colours in the right places."""

import numpy as np
import pytest
from PIL import Image

from medistill.case_results import CaseResult, Score
from medistill.report.volumes.slices import (
    OUTLINES,
    index_entry,
    render_slices,
    shown_cases,
    stretched,
)

from . import folders

SPACING = (1.0, 1.0, 2.5)


def case(dice):
    return CaseResult("brain", "test", f"{dice}", -1, {"a": Score(dice, dice, 1.0, 2.0, 2.0)})


def rendered(tmp_path, truth, prediction, classes=("a", "b"), image=None, spacing=SPACING):
    """The picture as an array, and the colours it was said to hold."""
    path = tmp_path / "slices.png"
    grey = np.zeros(truth.shape[-3:], np.float32) if image is None else image
    colours = render_slices(grey, truth, prediction, classes, spacing, path)
    return np.asarray(Image.open(path).convert("RGB")).astype(int), colours


def coloured(picture, colour, tolerance=40):
    """Where a picture has about a colour."""
    wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
    return np.abs(picture - wanted).max(axis=-1) < tolerance


class TestChoice:
    def test_worst_come_first_and_the_middle_one_last(self):
        shown = shown_cases([case(dice / 100) for dice in range(50, 91)], worst=3)
        assert [(one.kind, one.case.dice) for one in shown] == [
            ("worst", 0.5), ("worst", 0.51), ("worst", 0.52), ("typical", 0.7),
        ]  # fmt: skip

    def test_few_cases_are_shown_once_each(self):
        for count in range(5):
            shown = shown_cases([case(dice / 10) for dice in range(count)], worst=3)
            assert len(shown) == len({one.case.sample for one in shown}) == count

    def test_index_names_a_case_by_its_digest_and_its_number_alone(self):
        entry = index_entry(shown_cases([case(0.5)])[0], "001.png", {"a": "#ffb000"}, 7)
        assert entry == {
            "file": "001.png", "task": "brain", "split": "test", "sample": "0.5", "kind": "worst",
            "colours": {"a": "#ffb000"}, "case": 7,
        }  # fmt: skip


class TestPicture:
    def test_outlines_have_the_colours_of_their_classes(self, tmp_path):
        _, truth, prediction = folders.volume(2)
        picture, colours = rendered(tmp_path, truth, prediction)
        assert colours == {"a": OUTLINES[0], "b": OUTLINES[1]}
        assert all(coloured(picture, colour).sum() > 50 for colour in colours.values())

    def test_class_that_is_nowhere_has_no_colour(self, tmp_path):
        _, truth, prediction = folders.volume(1)
        picture, colours = rendered(tmp_path, truth, prediction)
        assert colours == {"a": OUTLINES[0]}
        assert not coloured(picture, OUTLINES[1]).any()

    def test_overlapping_masks_are_drawn_as_a_label_map_is(self, tmp_path):
        _, truth, prediction = folders.volume(2)
        masks = np.stack([truth == 1, truth == 2]).astype(np.uint8)
        one, _ = rendered(tmp_path, truth, prediction)
        other, _ = rendered(tmp_path, masks, prediction)
        assert (one == other).all()

    def test_patients_right_is_on_the_left(self, tmp_path):
        truth = np.zeros((40, 40, 16), np.uint8)
        truth[28:34, 17:23, 6:10] = 1  # to the right
        truth[6:12, 17:23, 6:10] = 2
        picture, colours = rendered(tmp_path, truth, truth)
        axial = picture[:, : picture.shape[1] // 3]
        right, left = (np.flatnonzero(coloured(axial, c).any(axis=0)) for c in colours.values())
        assert right.max() < left.min()

    def test_front_is_on_the_left_and_the_top_is_up(self, tmp_path):
        truth = np.zeros((40, 40, 40), np.uint8)
        truth[17:23, 28:34, 28:34] = 1  # in front, and high
        truth[17:23, 6:12, 6:12] = 2
        picture, colours = rendered(tmp_path, truth, truth, spacing=(1.0, 1.0, 1.0))
        sagittal = [coloured(picture[:, -picture.shape[1] // 3 :], c) for c in colours.values()]
        front, back = (np.flatnonzero(one.any(axis=0)) for one in sagittal)
        high, low = (np.flatnonzero(one.any(axis=1)) for one in sagittal)
        assert front.max() < back.min()
        assert high.max() < low.min()

    def test_plane_of_the_largest_error_is_the_one_shown(self, tmp_path):
        truth = np.zeros((30, 30, 20), np.uint8)
        truth[5:25, 5:25, 2:18] = 1
        prediction = truth.copy()
        prediction[8:22, 8:22, 5] = 0  # a hole in one slice
        picture, colours = rendered(tmp_path, truth, prediction)
        axial = coloured(picture[:, : picture.shape[1] // 3], colours["a"])
        middle = axial[axial.shape[0] // 4 : -axial.shape[0] // 4]
        # The outline of the hole, within that of the whole.
        assert middle[:, axial.shape[1] // 4 : -axial.shape[1] // 4].any()

    def test_outline_of_what_the_border_cuts_off_is_closed(self, tmp_path):
        truth = np.zeros((20, 20, 20), np.uint8)
        truth[:, 5:15, 5:15] = 1  # from side to side
        picture, colours = rendered(tmp_path, truth, truth, spacing=(1.0, 1.0, 1.0))
        axial = coloured(picture[:, : picture.shape[1] // 3], colours["a"], tolerance=90)
        inside = axial[axial.shape[0] // 3 : -axial.shape[0] // 3]
        assert inside[:, 0].any()
        assert not inside[:, axial.shape[1] // 2].any()

    def test_slices_keep_the_shape_of_the_body(self, tmp_path):
        truth = np.zeros((20, 20, 10), np.uint8)
        truth[9:11, 9:11, 4:6] = 1
        picture, _ = rendered(tmp_path, truth, truth, spacing=(1.0, 1.0, 2.0))
        high, wide = picture.shape[:2]
        # Three squares of 20 mm, but for the gaps between them.
        assert wide / high == pytest.approx(3, rel=0.05)

    def test_empty_masks_leave_a_picture_of_the_middle(self, tmp_path):
        nothing = np.zeros((12, 12, 12), np.uint8)
        image = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
        picture, colours = rendered(tmp_path, nothing, nothing, image=image)
        assert colours == {}
        assert picture.std() > 10


class TestStretched:
    def test_values_fill_the_range_and_few_beyond_are_cut(self):
        image = np.random.default_rng(0).normal(3, 2, (10, 10, 10))
        image[0, 0, 0] = 900
        grey = stretched(image)
        assert (grey.min(), grey.max()) == (0, 1)
        assert 0.4 < np.median(grey) < 0.6

    def test_image_of_one_value_is_black(self):
        assert not stretched(np.full((3, 3, 3), 7.0)).any()
