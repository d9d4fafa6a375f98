"""DICOM series become one volume, wherever their files lie and whatever they are called."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.scans import UnreadableScan, read_scan, spacing_mm
from medistill.series import patient_in, series_in
from tests.data.test_dicom import save
from tests.volumes import REAL

pytest.importorskip("pydicom")
VALUES = np.arange(5 * 3 * 4, dtype=np.int16).reshape(5, 3, 4)  # slices, rows, columns
DIRECTIONS = [1, 0, 0, 0, 1, 0]


def write_series(folder: Path, series: str = "1.2.3", **tags: Any) -> Path:
    """Five slices of 3 mm, the topmost first by name; rows 2 mm apart, columns 1 mm."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"SeriesInstanceUID": series, "ImageOrientationPatient": DIRECTIONS, "Modality": "MR"}
    for k, values in enumerate(VALUES):
        place = {"ImagePositionPatient": [10, 20, 3 * k], "PixelSpacing": [2, 1]}
        name = f"{series}-{len(VALUES) - k}.dcm"
        save(folder / name, values, **{**told, **place, "PatientID": "Jane Doe", **tags})
    return folder


def test_slices_are_sorted_by_where_they_lie(tmp_path: Path) -> None:
    one = read_scan(write_series(tmp_path))
    assert (one.pixels == VALUES.transpose(2, 1, 0)).all()
    assert np.allclose(spacing_mm(one.affine), (1, 2, 3))
    assert one.modality == "MR"


def test_the_world_of_dicom_is_turned_to_that_of_nifti(tmp_path: Path) -> None:
    affine = read_scan(write_series(tmp_path)).affine
    # Column 2, row 1, slice 4 lies at (10 + 2, 20 + 2, 12) to the left, back and top.
    assert np.allclose(affine @ [2, 1, 4, 1], [-12, -22, 12, 1])


def test_an_oblique_series_lies_where_its_header_says(tmp_path: Path) -> None:
    turned = [0.8, 0.6, 0, 0, 0, -1]
    normal = np.cross(turned[:3], turned[3:])
    for k, values in enumerate(VALUES):
        told = {"ImagePositionPatient": list(4.0 * k * normal), "PixelSpacing": [2, 1]}
        told |= {"SeriesInstanceUID": "1.2", "ImageOrientationPatient": turned}
        save(tmp_path / f"{9 - k}.dcm", values, **told)
    one = read_scan(tmp_path)
    assert np.allclose(spacing_mm(one.affine), (1, 2, 4))
    assert (one.pixels[:, :, 1] == VALUES[1].T).all()


def test_values_are_rescaled_to_their_units(tmp_path: Path) -> None:
    one = read_scan(write_series(tmp_path, RescaleSlope=2, RescaleIntercept=-1024))
    assert (one.pixels.min(), one.pixels.max()) == (-1024, 59 * 2 - 1024)


def test_inverted_values_are_turned_back(tmp_path: Path) -> None:
    one = read_scan(write_series(tmp_path, PhotometricInterpretation="MONOCHROME1"))
    assert (one.pixels == 59 - VALUES.transpose(2, 1, 0)).all()


def test_other_files_in_the_folder_are_passed_over(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "notes.txt").write_text("a scan")
    (tmp_path / ".DS_Store").write_text("")
    assert read_scan(tmp_path).pixels.shape == (4, 3, 5)


def test_of_several_series_one_must_be_named(tmp_path: Path) -> None:
    write_series(tmp_path, "1.2.3")
    write_series(tmp_path, "1.2.4", RescaleSlope=2, RescaleIntercept=0)
    with pytest.raises(UnreadableScan, match="holds 2 series"):
        read_scan(tmp_path)
    highest = {read_scan(tmp_path, series=name).pixels.max() for name in series_in(tmp_path)}
    assert highest == {59, 118}


def test_names_tell_no_patient(tmp_path: Path) -> None:
    folder = write_series(tmp_path)
    first = next(folder.iterdir())
    assert patient_in(first) == patient_in(sorted(folder.iterdir())[-1]) != ""
    told = " ".join([*series_in(folder), patient_in(first)])
    assert "Jane" not in told
    assert "1.2.3" not in told


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"NumberOfFrames": 2}, "several frames"),
        ({"ImagePositionPatient": [0, 0, 0]}, "two slices at one place"),
        ({"PixelSpacing": None}, "pixel spacing missing"),
    ],
)
def test_what_makes_no_volume_is_told_in_one_line(
    tmp_path: Path, tags: dict[str, Any], told: str
) -> None:
    with pytest.raises(UnreadableScan, match=told):
        read_scan(write_series(tmp_path, **tags))


def test_a_missing_slice_is_told(tmp_path: Path) -> None:
    folder = write_series(tmp_path)
    (folder / "1.2.3-3.dcm").unlink()
    with pytest.raises(UnreadableScan, match=r"3\.00 to 6\.00 mm apart"):
        read_scan(folder)


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not beside this checkout")
def test_a_real_oblique_series_is_read() -> None:
    one = read_scan(REAL / "dicom_series" / "brain_flair")
    assert one.pixels.shape == (512, 512, 22)
    assert np.allclose(spacing_mm(one.affine), (0.4297, 0.4297, 6.5), atol=1e-3)
