"""Scans are read as they are, prepared alike however they lie, and masks find their way back."""

import itertools
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.errors import UserError
from medistill.grids import flipped, turned_affine
from medistill.scans import (
    Preparation,
    Scan,
    Trace,
    UnreadableScan,
    oriented_spacing_mm,
    prepare,
    prepare_label,
    read_channels,
    read_scan,
    restore,
    spacing_mm,
    write_mask,
)
from tests.volumes import REAL, label, oblique, pixels, scan, straight, write

WAYS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product([False, True], repeat=3)
]
COARSE = Preparation(spacing_mm=(1.5, 2.0, 2.5))


def turned(one: Scan, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Scan:
    """The same scan, stored with other axes."""
    values = flipped(one.pixels.transpose(axes), flips)
    return Scan(values, turned_affine(one.affine, one.pixels.shape, axes, flips))


@pytest.mark.parametrize(("axes", "flips"), WAYS)
def test_however_a_scan_is_stored_it_is_prepared_alike(
    axes: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    one = scan(pixels(), straight((1, 1.5, 3)))
    other = turned(one, axes, flips)
    first, second = prepare(one, COARSE), prepare(other, COARSE)
    assert np.allclose(first.image, second.image, atol=1e-5)
    mask = (first.image > 0).astype(np.uint8)
    back = turned(scan(restore(mask, first.trace)), axes, flips).pixels
    assert (restore(mask, second.trace) == back).all()


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (np.complex64, "holds complex64"),
        ([("R", "u1"), ("G", "u1"), ("B", "u1")], "no plain numbers"),
    ],
)
def test_a_scan_of_anything_but_numbers_is_refused_in_one_line(
    tmp_path: Path, stored: object, told: str
) -> None:
    path = write(tmp_path / "odd.nii.gz", np.zeros((4, 4, 4), stored))
    with pytest.raises(UnreadableScan, match=told) as raised:
        read_channels(path)
    assert "\n" not in str(raised.value)


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=40, deadline=None)
def test_at_its_own_spacing_a_mask_comes_back_to_the_voxel(seed: int, crop: bool) -> None:
    one, mask = scan(pixels(seed), oblique(seed=seed)), label(seed)
    own = Preparation(spacing_mm=oriented_spacing_mm(one), crop=crop)
    trace = prepare(one, own).trace
    there = prepare_label(scan(mask, one.affine), trace)
    assert there.shape == trace.size
    assert (restore(there, trace) == mask).all()


def test_a_mask_for_each_class_comes_back_class_by_class() -> None:
    one = scan(pixels(), oblique())
    done = prepare(one, COARSE)
    masks = np.stack([done.image > 0, done.image < 0]).astype(np.uint8)
    assert (restore(masks, done.trace)[1] == restore(masks[1], done.trace)).all()


@given(st.tuples(*[st.floats(0.5, 4)] * 3))
@settings(max_examples=20, deadline=None)
def test_any_spacing_comes_back_on_the_grid_of_the_file(spacing: tuple[float, ...]) -> None:
    one = scan(pixels(), oblique())
    done = prepare(one, Preparation(spacing_mm=spacing))
    everywhere = np.ones(done.image.shape, np.uint8)
    back = restore(everywhere, done.trace)
    assert back.shape == one.pixels.shape
    assert set(np.unique(back)) <= {0, 1}


def test_a_prepared_scan_has_the_spacing_asked_for() -> None:
    done = prepare(scan(pixels(), straight((1, 1.5, 3))), Preparation(spacing_mm=(2.0, 3.0, 3.0)))
    assert done.trace.grid == (6, 7, 10)
    assert done.trace.ratios == (2, 2, 1)


def test_magnetic_resonance_is_clipped_to_percentiles_and_normalised() -> None:
    values = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    plain = Preparation(spacing_mm=(1.0, 1.0, 1.0), crop=False)
    image = prepare(scan(values), plain).image
    clipped = values.clip(*np.percentile(values, [0.5, 99.5]))
    assert np.allclose(image, (clipped - clipped.mean()) / clipped.std(), atol=1e-5)


def test_computed_tomography_is_clipped_to_its_window() -> None:
    values = np.linspace(-1000, 3000, 64, dtype=np.float32).reshape(4, 4, 4)
    plain = Preparation(spacing_mm=(1.0, 1.0, 1.0), modality="ct", crop=False)
    clipped = values.clip(-500, 1000)
    expected = (clipped - clipped.mean()) / clipped.std()
    assert np.allclose(prepare(scan(values), plain).image, expected, atol=1e-5)


def test_the_margin_without_tissue_is_cut_off_and_found_again() -> None:
    values = np.zeros((9, 9, 9), np.float32)
    values[2:6, 3:8, 4:5] = np.random.default_rng(0).normal(100, 5, (4, 5, 1))
    done = prepare(scan(values), Preparation(spacing_mm=(1.0, 1.0, 1.0)))
    assert (done.trace.start, done.trace.size) == ((2, 3, 4), (4, 5, 1))
    back = restore(np.ones((4, 5, 1), np.uint8), done.trace)
    assert (back.astype(bool) == (values > 0)).all()


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_an_even_scan_is_kept_whole_and_becomes_zero(modality: str) -> None:
    even = scan(np.full((4, 5, 6), -1000))
    done = prepare(even, Preparation(spacing_mm=(1.0, 1.0, 1.0), modality=modality))
    assert done.trace.size == (4, 5, 6)
    assert not done.image.any()


def test_values_that_are_no_numbers_count_as_the_lowest() -> None:
    values = pixels()
    broken, lowest = values.copy(), values.copy()
    broken[3, 3, 3], broken[4, 4, 4] = np.nan, np.inf
    lowest[3, 3, 3] = lowest[4, 4, 4] = values.min()
    assert np.allclose(prepare(scan(broken), COARSE).image, prepare(scan(lowest), COARSE).image)


def test_directions_of_their_own_do_not_depend_on_who_wrote_the_file() -> None:
    affine = oblique((1.0, 1.0, 3.0), seed=4)
    frame = tuple((affine[:3, :3] / spacing_mm(affine)).ravel().tolist())
    one = scan(pixels(), affine)
    way = Preparation(spacing_mm=(1.0, 1.0, 3.0), frame=frame, crop=False)
    plain = prepare(one, way)
    assert plain.trace.axes == (0, 1, 2)
    assert plain.image.shape == one.pixels.shape
    for axes, flips in WAYS[::5]:
        assert np.allclose(prepare(turned(one, axes, flips), way).image, plain.image, atol=1e-5)


def test_preparation_and_trace_survive_json() -> None:
    trace = prepare(scan(pixels(), oblique()), COARSE).trace
    framed = Preparation(
        spacing_mm=(1.0, 2.0, 3.0), frame=(1.0, 0.0, 0.0, 0.0, 0.6, 0.8, 0.0, -0.8, 0.6)
    )
    assert Trace.from_document(json.loads(json.dumps(trace.as_document()))) == trace
    assert Preparation.from_document(json.loads(json.dumps(framed.as_document()))) == framed


@pytest.mark.parametrize(
    "settings",
    [
        {"spacing_mm": (1.0, 0.0, 1.0)},
        {"spacing_mm": (1.0, 1.0, 1.0), "orientation": "RAP"},
        {"spacing_mm": (1.0, 1.0, 1.0), "orientation": "RA"},
    ],
)
def test_what_cannot_be_prepared_is_refused(settings: dict) -> None:
    with pytest.raises(UserError, match=r"(spacing_mm|orientation) is"):
        Preparation(**settings)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_is_read_with_its_affine(tmp_path: Path, name: str) -> None:
    affine = oblique((1, 1.5, 3))
    one = read_scan(write(tmp_path / name, pixels(), affine))
    assert np.allclose(one.pixels, pixels())
    assert np.allclose(one.affine, affine, atol=1e-4)  # a header holds 32-bit numbers
    assert np.allclose(spacing_mm(one.affine), (1, 1.5, 3))
    assert one.stored == "float32"


def test_stored_numbers_are_rescaled(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2, -1024)
    image.to_filename(tmp_path / "a.nii")
    assert read_scan(tmp_path / "a.nii").pixels.max() == 23 * 2 - 1024


def test_a_fourth_axis_of_one_is_no_matter_but_channels_are_refused(tmp_path: Path) -> None:
    assert read_scan(write(tmp_path / "a.nii", np.zeros((2, 3, 4, 1)))).pixels.shape == (2, 3, 4)
    several = write(tmp_path / "b.nii", np.zeros((2, 3, 4, 5)))
    assert len(read_channels(several)) == 5
    with pytest.raises(UnreadableScan, match=r"b\.nii: holds 5 volumes"):
        read_scan(several)


def test_what_is_no_scan_is_told_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(write(tmp_path / "whole.nii.gz", pixels()).read_bytes()[:900])
    text = tmp_path / "text.nii"
    text.write_text("no scan")
    flat = write(tmp_path / "flat.nii", np.zeros((3, 3), np.float32))
    named = tmp_path / "scan.mha"
    named.write_text("")
    for path in (broken, text, flat, named, tmp_path / "absent.nii", tmp_path):
        with pytest.raises(UnreadableScan) as error:
            read_scan(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_mask_has_the_grid_and_the_header_of_its_scan(tmp_path: Path, kind: type) -> None:
    values = np.rint(pixels()).astype(np.int16)
    image = kind(values, oblique())
    image.header.set_slope_inter(2, 5)
    image.set_qform(oblique(), code=1)
    image.set_sform(oblique(), code=4)
    image.header.set_xyzt_units("mm", "sec")
    image.header["cal_max"], image.header["descrip"] = 300, b"a scanner"
    image.to_filename(tmp_path / "scan.nii")
    one, mask = read_scan(tmp_path / "scan.nii"), label()
    write_mask(tmp_path / "out" / "mask.nii.gz", mask, one)
    there, scanned = (
        nibabel.load(tmp_path / "out" / "mask.nii.gz"),
        nibabel.load(tmp_path / "scan.nii"),
    )
    assert (np.asarray(there.dataobj) == mask).all()
    assert there.get_data_dtype() == np.uint8
    assert (there.affine == scanned.affine).all()
    for field in ("pixdim", "qform_code", "sform_code", "quatern_b", "qoffset_x", "descrip"):
        assert (there.header[field] == scanned.header[field]).all(), field
    assert there.header["cal_max"] == 0


def test_masks_of_several_classes_become_a_fourth_axis(tmp_path: Path) -> None:
    one = read_scan(write(tmp_path / "scan.nii", pixels()))
    masks = np.stack([label() == 1, label() == 2]).astype(np.uint8)
    write_mask(tmp_path / "mask.nii", masks, one)
    there = np.asarray(nibabel.load(tmp_path / "mask.nii").dataobj)
    assert (there == np.moveaxis(masks, 0, 3)).all()


def test_a_mask_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    one = read_scan(write(tmp_path / "scan.nii", pixels()))
    with pytest.raises(UserError, match=r"mask\.png: a mask is written as"):
        write_mask(tmp_path / "mask.png", label(), one)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_mask(tmp_path / "file" / "mask.nii", label(), one)


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not beside this checkout")
@pytest.mark.parametrize(
    "path",
    [
        "hippocampus/labelsTr/hippocampus_001.nii.gz",
        "Dataset101_AbdomenMR/labelsTr/{}",
        "Dataset102_CardiacMR/labelsTr/{}",
    ],
)
def test_real_labels_come_back_to_the_voxel(path: str) -> None:
    folder = REAL / path.partition("/{}")[0]
    file = sorted(folder.iterdir())[0] if path.endswith("{}") else REAL / path
    truth = read_scan(file)
    # Its own values serve as tissue: what is labelled is never cropped.
    done = prepare(truth, Preparation(spacing_mm=oriented_spacing_mm(truth)))
    assert (restore(prepare_label(truth, done.trace), done.trace) == truth.pixels).all()
