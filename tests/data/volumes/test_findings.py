"""What would spoil a result is found, told in a line, and nothing else is."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medistill.data.findings import Finding
from tests.data.volumes.test_opening import opened
from tests.volumes import REAL, label, pixels, straight, write, write_msd


def found(root: Path) -> dict[str, Finding]:
    return {finding.kind: finding for finding in opened(root).findings}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_msd(tmp_path)


def test_a_sound_data_set_has_notes_alone(root: Path) -> None:
    assert {finding.severity for finding in found(root).values()} == {"note"}


def test_an_unreadable_scan_is_an_error(root: Path) -> None:
    (root / "imagesTr/case_2.nii.gz").write_bytes(b"broken")
    finding = found(root)["unreadable"]
    assert finding.severity == "error"
    assert finding.items[0].startswith("imagesTr/case_2.nii.gz: ")
    assert str(root) not in finding.items[0]


def test_another_number_of_masks_than_classes_is_an_error_of_its_case(tmp_path: Path) -> None:
    for seed in range(4):
        write(tmp_path / f"{seed}.nii.gz", pixels(seed))
        write(tmp_path / f"{seed}_head.nii.gz", (label(seed) == 1).astype(np.uint8))
    rows = [
        {"image": f"{i}.nii.gz", "label": ["head"], "mask": [f"{i}_head.nii.gz"] * (1 + (i == 2))}
        for i in range(4)
    ]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    finding = found(tmp_path)["unreadable"]
    assert finding.severity == "error"
    (item,) = finding.items
    assert item == "2.nii.gz: masks found: 2, classes: 1; one mask for each class is needed"


def test_a_label_of_another_shape_is_an_error(root: Path) -> None:
    write(root / "labelsTr/case_2.nii.gz", label()[:, :, 1:])
    findings = found(root)
    assert findings["shape_mismatch"].severity == "error"
    assert "12x14x9" in findings["shape_mismatch"].items[0]
    assert "unreadable" not in findings


def test_a_label_that_lies_elsewhere_is_a_warning(root: Path) -> None:
    moved = straight()
    moved[:3, 3] = 0, 3, 0
    write(root / "labelsTr/case_2.nii.gz", label(2), moved)
    finding = found(root)["affine_mismatch"]
    assert finding.severity == "warning"
    assert finding.items == ("imagesTr/case_2.nii.gz: 3 voxels off",)


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_a_header_that_gives_two_places_is_a_warning(root: Path, folder: str) -> None:
    values = pixels(1) if folder == "imagesTr" else label(1)
    image = nibabel.Nifti1Image(values, straight())
    moved = straight()
    moved[0, 3] = 4
    image.header.set_qform(moved, code="scanner")
    nibabel.save(image, root / folder / "case_1.nii.gz")
    finding = found(root)["two_places"]
    assert finding.severity == "warning"
    assert finding.items == ("imagesTr/case_1.nii.gz: 4 voxels apart",)


def test_an_orientation_that_a_list_asks_for_is_set_aside_with_a_warning(tmp_path: Path) -> None:
    rows = []
    for seed, code in enumerate(["RAS", "ASR", "", "ras"]):
        write(tmp_path / f"{seed}.nii.gz", pixels(seed))
        write(tmp_path / f"{seed}_mask.nii.gz", (label(seed) == 1).astype(np.uint8))
        row = {"image": f"{seed}.nii.gz", "label": ["head"], "mask": f"{seed}_mask.nii.gz"}
        rows.append({**row, **({"orientation_code": code} if code else {})})
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    finding = found(tmp_path)["other_orientation"]
    assert (finding.severity, finding.items) == ("warning", ("1.nii.gz: ASR",))
    assert "set aside: all are turned to RAS" in finding.message


def test_values_that_no_class_claims_are_an_error(root: Path) -> None:
    values = label().astype(np.int16)
    values[5, 5, 5], values[6, 6, 6] = 7, -1
    write(root / "labelsTr/case_1.nii.gz", values)
    finding = found(root)["unknown_label_values"]
    assert (finding.severity, finding.items) == ("error", ("imagesTr/case_1.nii.gz: -1, 7",))


def test_a_mask_for_each_class_may_say_yes_by_any_number(tmp_path: Path) -> None:
    for seed in range(4):
        write(tmp_path / f"{seed}.nii.gz", pixels(seed))
        write(tmp_path / f"{seed}_head.nii.gz", (label(seed) == 1) * np.uint8(255))
    rows = [
        {"image": f"{i}.nii.gz", "label": ["head"], "mask": [f"{i}_head.nii.gz"]} for i in range(4)
    ]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert "unknown_label_values" not in found(tmp_path)


def test_an_empty_label_is_a_warning(root: Path) -> None:
    write(root / "labelsTr/case_1.nii.gz", np.zeros_like(label()))
    assert found(root)["empty_label"].items == ("imagesTr/case_1.nii.gz",)


def test_values_that_are_no_numbers_are_a_warning(root: Path) -> None:
    values = pixels(1)
    values[3, 3, 3:5] = np.nan
    write(root / "imagesTr/case_1.nii.gz", values)
    assert found(root)["not_finite"].items == ("imagesTr/case_1.nii.gz: 2 voxels",)


def test_a_spacing_far_from_the_others_is_a_warning(root: Path) -> None:
    write(root / "imagesTr/case_1.nii.gz", pixels(1), straight((1, 1, 5)))
    write(root / "labelsTr/case_1.nii.gz", label(1), straight((1, 1, 5)))
    assert found(root)["odd_spacing"].items == ("imagesTr/case_1.nii.gz: 1 x 1 x 5 mm",)


def test_labels_in_floats_are_noted_and_fractions_warned_of(root: Path) -> None:
    write(root / "labelsTr/case_1.nii.gz", label(1).astype(np.float32))
    write(root / "labelsTr/case_2.nii.gz", label(2).astype(np.float32) * 0.9)
    findings = found(root)
    assert findings["float_labels"].items == ("imagesTr/case_1.nii.gz",)
    assert findings["fractional_labels"].items == ("imagesTr/case_2.nii.gz",)


def test_one_volume_in_two_files_stands_in_one_split(root: Path) -> None:
    write(root / "imagesTr/case_1.nii.gz", pixels(0))
    findings = found(root)
    assert findings["identical_images"].message == "groups of files with identical volumes: 1"
    assert findings["conflicting_labels"].severity == "warning"
    assert "identical_across_splits" not in findings


def test_a_volume_in_two_official_splits_is_a_warning(root: Path) -> None:
    write(root / "imagesTr/case_1.nii.gz", pixels(0))
    (root / "dataset.json").unlink()
    splits = ["train", "test", "train", "train", "train", "validation", "test", "train"]
    rows = [
        f"imagesTr/case_{i}.nii.gz,labelsTr/case_{i}.nii.gz,{s},{i // 4}"
        for i, s in enumerate(splits)
    ]
    (root / "manifest.csv").write_text("\n".join(["image,label,split,patient", *rows]))
    findings = found(root)
    assert findings["identical_across_splits"].severity == "warning"
    assert findings["patients_across_splits"].message.startswith("patients in more than one split")


def test_an_even_scan_is_a_warning(root: Path) -> None:
    write(root / "imagesTr/case_1.nii.gz", np.full(label().shape, 7, np.float32))
    assert found(root)["blank"].items == ("imagesTr/case_1.nii.gz",)


def test_different_units_and_numbers_are_noted(root: Path) -> None:
    write(root / "imagesTr/case_1.nii.gz", (pixels(1) / 3).astype(np.uint8))
    write(root / "imagesTr/case_2.nii.gz", pixels(2) * 1000)
    findings = found(root)
    assert findings["stored_types"].message.endswith("float32 7, uint8 1")
    assert findings["intensities"].severity == "note"


@pytest.mark.parametrize(("modality", "kind"), [("MRI", "perhaps_ct"), ("CT", "ct_without_air")])
def test_a_modality_that_values_contradict_is_a_warning(
    root: Path, modality: str, kind: str
) -> None:
    if modality == "MRI":
        for seed in range(8):
            write(root / f"imagesTr/case_{seed}.nii.gz", pixels(seed) - 1000 * (pixels(seed) == 0))
    document = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**document, "modality": {"0": modality}}))
    assert len(found(root)[kind].items) == 8


def test_a_split_without_a_class_is_a_warning(root: Path) -> None:
    for seed in range(8):
        write(root / f"labelsTr/case_{seed}.nii.gz", label(seed, classes=1))
    assert found(root)["missing_class"].message.endswith("has no voxel of tail")


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not beside this checkout")
def test_the_known_traps_of_a_real_set_are_noted(tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).symlink_to(REAL / "hippocampus" / folder)
    document = json.loads((REAL / "hippocampus" / "dataset.json").read_text())
    document["training"] = document["training"][:12]
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    findings = found(tmp_path)
    assert "hippocampus_003" in findings["float_labels"].items[0]
    assert "uint8" in findings["stored_types"].message
    assert {finding.severity for finding in findings.values()} == {"note"}
