import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medistill.cli.main import run
from medistill.errors import UserError
from medistill.export.volume_onnx import export_segmenter
from medistill.export.volume_profile import ScanProfile, quantities
from medistill.export.volume_runtime import Outlined, VolumeModel, find_scans, predict_scans

from .outlining import Brightness, config, expected, scan_pixels, write_scan


@pytest.fixture(scope="module")
def outliner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter that was trained on scans of 1 x 2 x 3 mm with values up to 160 or so."""
    rows = [quantities((1.0, 2.0, 3.0), 30.0, 155.0)] * 3
    profile = ScanProfile.of(rows).as_document()
    path = tmp_path_factory.mktemp("outliner") / "model.onnx"
    export_segmenter(Brightness(), config(profile=profile), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two scans, a series, a broken scan, and what is none."""
    root = tmp_path / "scans"
    write_scan(root / "one.nii.gz", scan_pixels())
    write_scan(root / "sub" / "two.nii", scan_pixels(seed=1))
    write_series(root / "series")
    (root / "broken.nii.gz").write_bytes(b"\x1f\x8b no more")
    (root / "notes.txt").write_text("no scan")
    return root


def write_series(folder: Path) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True)
    pixels = scan_pixels().transpose(2, 1, 0)
    for place, plane in enumerate(pixels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"1.2.{place + 1}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        name = folder / f"{9 - place}.dcm"
        one = FileDataset(name, {}, file_meta=meta, preamble=b"\0" * 128)
        one.PatientName, one.Modality, one.SeriesInstanceUID = "SECRET^PATIENT", "CT", "1.2.3"
        one.Rows, one.Columns, one.SamplesPerPixel = *plane.shape, 1
        one.PhotometricInterpretation = "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.PixelSpacing, one.SliceThickness = [2.0, 1.0], 3.0
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = [0, 0, 3.0 * place]
        one.PixelData = np.ascontiguousarray(plane).tobytes()
        one.save_as(name)


def labels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_mask_lies_on_the_grid_of_its_scan(outliner: Path, tmp_path: Path) -> None:
    scan, out = write_scan(tmp_path / "scan.nii.gz", scan_pixels()), tmp_path / "mask.nii.gz"
    found = VolumeModel(outliner).predict(scan, out)

    mask, given = nibabel.load(out), nibabel.load(scan)
    assert np.array_equal(labels(out), expected(scan_pixels()))
    assert np.array_equal(mask.affine, given.affine)
    assert mask.header["descrip"] == b"scanner 7"
    assert mask.get_data_dtype() == np.uint8
    bright = np.count_nonzero(labels(out) == 1) * 6 / 1000
    assert found == Outlined(scan, (out,), found.volumes_ml, [])
    assert found.volumes_ml["bright"] == pytest.approx(bright)


def test_scan_of_another_orientation_and_spacing_is_undone_at_the_end(
    outliner: Path, tmp_path: Path
) -> None:
    pixels = scan_pixels((10, 12, 14))
    pixels[:] = 80
    pixels[:4, :, 3:9] = 120
    affine = np.array([[0, 0, -2.0, 9], [3.0, 0, 0, 8], [0, 1.5, 0, 7], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(pixels, affine), tmp_path / "scan.nii.gz")

    VolumeModel(outliner).predict(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz")
    found = labels(tmp_path / "mask.nii.gz") > 0
    assert found.shape == pixels.shape
    wanted = pixels > 100
    # A voxel beside an edge may fall to either side: both grids are coarse.
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.9


def test_masks_per_class_overlap_and_bear_the_names_of_their_classes(
    outliner: Path, tmp_path: Path
) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz", scan_pixels())
    found = VolumeModel(outliner).predict(scan, tmp_path / "out" / "mask.nii.gz", per_class=True)

    names = ["mask-1-bright.nii.gz", "mask-2-very_bright.nii.gz"]
    assert [mask.name for mask in found.masks] == names
    bright, very = (labels(mask) for mask in found.masks)
    assert very.sum() > 0
    assert (bright[very > 0] == 1).all()
    assert found.volumes_ml["bright"] == pytest.approx(bright.sum() * 6 / 1000)


def test_every_scan_of_a_folder_gets_a_mask_and_broken_ones_are_named(
    outliner: Path, folder: Path, tmp_path: Path
) -> None:
    seen: list[Outlined] = []
    told: list[tuple[int, int]] = []
    failures = predict_scans(
        VolumeModel(outliner), [folder], tmp_path / "masks", on_scan=seen.append,
        on_progress=lambda *at: told.append(at),
    )  # fmt: skip

    written = {path.relative_to(tmp_path / "masks").as_posix() for path in
               (tmp_path / "masks").rglob("*") if path.is_file()}  # fmt: skip
    assert written == {"one.nii.gz", "sub/two.nii.gz", "series.nii.gz"}
    assert len(seen) == 3
    assert list(failures) == [folder / "broken.nii.gz"]
    assert str(folder) not in failures[folder / "broken.nii.gz"]
    assert told[-1] == (400, 400)
    assert told == sorted(told)
    for name, seed in {"one": 0, "sub/two": 1, "series": 0}.items():
        mask = labels(tmp_path / "masks" / f"{name}.nii.gz")
        assert np.array_equal(mask, expected(scan_pixels(seed=seed)))


def test_scans_unlike_the_training_scans_are_flagged(
    outliner: Path, folder: Path, tmp_path: Path
) -> None:
    model = VolumeModel(outliner)
    pixels = scan_pixels()
    pixels[:2] *= 9
    thick = write_scan(tmp_path / "thick.nii.gz", pixels, (1.0, 2.0, 8.0))

    spacing, high = model.predict(thick, tmp_path / "mask.nii.gz").unlike
    assert spacing.startswith("spacing upwards in mm 8")
    assert high.startswith("highest value 1")
    assert model.predict(folder / "series", tmp_path / "mask.nii.gz").unlike == [
        "modality CT (training: MR)"
    ]


def test_voxels_that_are_no_numbers_are_one_more_reason(outliner: Path, tmp_path: Path) -> None:
    pixels = scan_pixels().astype(np.float32)
    pixels[3, 3, :4] = np.nan, np.inf, -np.inf, np.nan
    holed = write_scan(tmp_path / "holed.nii.gz", pixels)
    found = VolumeModel(outliner).predict(holed, tmp_path / "mask.nii.gz")
    assert found.unlike == ["4 voxels are no numbers (they count as the lowest value)"]


def test_a_network_of_ct_and_mr_is_told_what_a_scan_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, masks = tmp_path / "both.onnx", tmp_path / "masks"
    prepared = {"spacing_mm": [1.0, 2.0, 3.0], "crop": False, "window_hu": [90.0, 110.0]}
    export_segmenter(Brightness(), config(preparation=prepared, modalities=["ct", "mr"]), file)
    (folder / "broken.nii.gz").unlink()
    failures = predict_scans(VolumeModel(file), [folder], masks)
    # The series tells that it is CT; NIfTI tells nothing.
    assert {scan.name for scan in failures} == {"one.nii.gz", "two.nii"}
    assert all("--modality ct or mr" in reason for reason in failures.values())
    # The narrow window of CT leaves nothing very bright.
    assert not np.array_equal(labels(masks / "series.nii.gz"), expected(scan_pixels()))

    one = str(folder / "one.nii.gz")
    for modality in ("ct", "mr"):
        out = str(tmp_path / f"{modality}.nii.gz")
        assert run(["predict", str(file), one, "--modality", modality, "--out", out]) == 0
    assert np.array_equal(labels(tmp_path / "mr.nii.gz"), expected(scan_pixels()))
    assert np.array_equal(labels(tmp_path / "ct.nii.gz"), labels(masks / "series.nii.gz"))
    capsys.readouterr()
    assert run(["predict", str(file), one, "--out", str(tmp_path / "none.nii.gz")]) == 1
    assert "--modality ct or mr" in capsys.readouterr().out
    assert not (tmp_path / "none.nii.gz").exists()


def test_scan_is_never_replaced_by_its_mask(outliner: Path, folder: Path) -> None:
    model, before = VolumeModel(outliner), (folder / "one.nii.gz").read_bytes()
    with pytest.raises(UserError, match="is the scan itself"):
        model.predict(folder / "one.nii.gz", folder / "sub" / ".." / "one.nii.gz")
    with pytest.raises(UserError, match="is one of the scans"):
        predict_scans(model, [folder / "one.nii.gz"], folder / "one.nii.gz")
    with pytest.raises(UserError, match="is one of the scans"):
        predict_scans(model, [folder], folder)

    assert (folder / "one.nii.gz").read_bytes() == before


def test_places_that_do_not_fit_are_named_before_any_work(
    outliner: Path, folder: Path, tmp_path: Path
) -> None:
    model, one = VolumeModel(outliner), folder / "one.nii.gz"
    with pytest.raises(UserError, match="one file for 4 scans"):
        predict_scans(model, [folder], tmp_path / "mask.nii.gz")
    (tmp_path / "odd.nii").mkdir()
    with pytest.raises(UserError, match="is a folder; name a file"):
        predict_scans(model, [one], tmp_path / "odd.nii")
    twin = write_scan(tmp_path / "other" / "one.nii", scan_pixels())
    with pytest.raises(UserError, match="would be the mask of"):
        predict_scans(model, [one, twin], tmp_path / "masks")
    with pytest.raises(UserError, match="No file or folder"):
        find_scans([Path("nowhere")])
    with pytest.raises(UserError, match="No scan in"):
        find_scans([tmp_path / "odd.nii"])
    assert not (tmp_path / "masks").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_mask_that_cannot_be_written_ends_the_work(
    outliner: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written"):
        predict_scans(VolumeModel(outliner), [folder], tmp_path / "closed" / "masks")


def test_predict_outlines_without_torch(outliner: Path, folder: Path, tmp_path: Path) -> None:
    blocked = (
        "torch", "torchvision", "timm", "onnx", "monai", "scipy", "matplotlib", "jaxtyping",
    )  # fmt: skip
    code = f"""
import sys
sys.modules.update(dict.fromkeys({blocked}))
from medistill.cli.main import main
sys.argv = ["medistill", "predict", {str(outliner)!r}, {str(folder)!r}, "--out", "masks"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "labels: 1 bright, 2 very bright"
    assert [line for line in lines if " ml: masks/" in line and "bright" in line]
    assert lines[-1].startswith(f"warning: {folder / 'broken.nii.gz'}: ")
    assert len(list((tmp_path / "masks").rglob("*.nii.gz"))) == 3
    assert "SECRET" not in done.stdout


def test_python_needs_neither_pillow_nor_a_terminal(
    outliner: Path, folder: Path, tmp_path: Path
) -> None:
    blocked = ("torch", "PIL", "pydicom", "rich", "typer", "yaml", "safetensors", "jaxtyping")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({blocked}))
from pathlib import Path
from medistill.export.volume_runtime import VolumeModel
VolumeModel(Path({str(outliner)!r})).predict(Path({str(folder / "one.nii.gz")!r}), Path("m.nii.gz"))
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True)
    assert np.array_equal(labels(tmp_path / "m.nii.gz"), expected(scan_pixels()))


def test_verb_names_masks_by_itself_and_refuses_what_is_for_images(
    outliner: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["predict", str(outliner), str(folder / "one.nii.gz")]) == 0
    assert Path("mask.nii.gz").is_file()
    assert run(["predict", str(outliner), str(folder / "sub"), "--per-class"]) == 0
    assert len(list(Path("masks").iterdir())) == 2
    capsys.readouterr()
    assert run(["predict", str(outliner), str(folder), "--explain"]) == 2
    assert "--explain is for images" in capsys.readouterr().err


def test_masks_per_class_are_refused_of_what_classifies_images(
    exported: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(exported), str(folder), "--per-class"]) == 2
    assert f"{exported} classifies images" in capsys.readouterr().err
    assert run(["predict", str(exported), str(folder), "--modality", "ct"]) == 2
    assert "--modality is for scans" in capsys.readouterr().err
