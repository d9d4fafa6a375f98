"""Every way to lay out scans and masks is recognised, and read as its author meant it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.data.volumes.facts import read_marked
from medistill.data.volumes.layouts.base import (
    Case,
    VolumeLayout,
    class_name,
    lays_out,
    open_volumes_root,
    with_patients,
)
from medistill.errors import UserError
from tests.data.test_dicom import save
from tests.test_series import VALUES, write_series
from tests.volumes import REAL, label, pixels, straight, write, write_msd, write_pairs

BOTH = np.stack([label() == 1, label() == 2], axis=3).astype(np.uint8)


def write_nnunet(root: Path, **told: Any) -> Path:
    for seed in range(4):
        write(root / f"imagesTr/case_{seed}_0000.nii.gz", pixels(seed))
        write(root / f"labelsTr/case_{seed}.nii.gz", label(seed))
    document = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "left_kidney": 2, "liver": 1},
        "numTraining": 4,
        "file_ending": ".nii.gz",
        **told,
    }
    (root / "dataset.json").write_text(json.dumps(document))
    return root


def write_jsonl(root: Path, **more: Any) -> Path:
    write(root / "a.nii.gz", pixels())
    write(root / "mask.nii.gz", label())
    rows = [
        {"image": "a.nii.gz", "label": ["Tail", "Head"], "modality": "ct", "mask": "mask.nii.gz"}
    ]
    (root / "train.jsonl").write_text("\n".join(json.dumps({**row, **more}) for row in rows) + "\n")
    return root


def write_manifest(root: Path, *rows: str, header: str = "image,label") -> Path:
    pairs = write_pairs(root, 2)
    lines = rows or [f"{pair['image']},{pair['label']}" for pair in pairs]
    (root / "manifest.csv").write_text("\n".join([header, *lines]) + "\n")
    return root


def write_labelled_series(root: Path) -> Path:
    write_series(root / "head")
    mask = (VALUES.transpose(2, 1, 0) > 30).astype(np.uint8)
    write(root / "head.nii.gz", mask, np.diag([-1, -1, 1, 1]) @ straight((1, 2, 3)))
    (root / "labels.json").write_text('{"1": "Tumour"}')
    return root


WRITERS = {
    "msd": write_msd,
    "nnunet": write_nnunet,
    "sat_jsonl": write_jsonl,
    "volume_manifest": write_manifest,
    "dicom_series": write_labelled_series,
}


def opened(root: Path, **settings: Any) -> VolumeLayout:
    found = open_volumes_root(root, **settings)
    assert found is not None
    return found


def marked(layout: VolumeLayout, case: Case | None = None) -> np.ndarray:
    _, found = read_marked(layout, case or layout.cases()[0])
    assert found is not None
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_a_layout_is_recognised_and_named(tmp_path: Path, name: str) -> None:
    root = WRITERS[name](tmp_path / "data")
    assert type(opened(root)) is type(opened(root, name=name))
    assert type(opened(root)).__module__.endswith(name)


@pytest.mark.parametrize("name", WRITERS)
def test_every_case_has_a_scan_and_a_label_of_its_shape(tmp_path: Path, name: str) -> None:
    layout = opened(WRITERS[name](tmp_path / "data"))
    cases = layout.cases()
    assert cases == sorted(cases, key=lambda case: case.image)
    for case in cases:
        assert marked(layout, case).shape == layout.read(case).pixels.shape
        assert all(path.is_file() for path in layout.files(case.image))


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"dicom_series"}))
def test_a_missing_file_is_told_before_anything_is_read(tmp_path: Path, name: str) -> None:
    root = WRITERS[name](tmp_path / "data")
    layout = opened(root)
    case = layout.cases()[0]
    missing = case.image.partition("#")[0]
    (root / missing).rename(root / "elsewhere")
    with pytest.raises(UserError, match=r"1 of .* files are missing") as error:
        opened(root, name=name).cases()
    assert "\n" not in str(error.value)


def test_images_are_no_volumes(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label\na.png,cat\n")
    assert open_volumes_root(tmp_path) is None
    assert open_volumes_root(tmp_path, "manifest") is None
    assert open_volumes_root(tmp_path, "class_folders") is None


def test_x_ray_pictures_in_dicom_are_no_series(tmp_path: Path) -> None:
    for folder in ("healthy", "ill"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            told = {"SeriesInstanceUID": f"1.{number}", "PatientID": f"{number}"}
            save(tmp_path / folder / f"{number}.dcm", VALUES[0], **told)
    assert open_volumes_root(tmp_path) is None


def test_a_root_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_volumes_root(tmp_path / "absent")


def test_msd_takes_its_names_and_its_modality_from_the_description(tmp_path: Path) -> None:
    layout = opened(write_msd(tmp_path, 2, modality={"0": "CT"}))
    assert layout.classes() == ("head", "tail")
    assert [case.modality for case in layout.cases()] == ["ct", "ct"]
    assert (marked(layout) == label(0)).all()


def test_scans_that_nnunet_renamed_are_found(tmp_path: Path) -> None:
    root = write_msd(tmp_path, 1)
    (root / "imagesTr/case_0.nii.gz").rename(root / "imagesTr/case_0_0000.nii.gz")
    assert (marked(opened(root)) == label(0)).all()


@pytest.mark.parametrize("writer", [write_msd, write_nnunet])
def test_several_channels_are_refused(tmp_path: Path, writer: Any) -> None:
    channels = {"0": "T2", "1": "ADC"}
    layout = opened(writer(tmp_path, modality=channels, channel_names=channels))
    with pytest.raises(UserError, match=r"2 channels \(T2, ADC\)"):
        layout.cases()


def test_nnunet_orders_classes_by_their_values(tmp_path: Path) -> None:
    layout = opened(write_nnunet(tmp_path))
    assert layout.classes() == ("liver", "left kidney")
    assert (marked(layout) == label(0)).all()


def test_nnunet_regions_overlap(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    found = marked(opened(write_nnunet(tmp_path, labels=labels)))
    assert (found == np.stack([label(0) > 0, label(0) == 2])).all()


def test_nnunet_labelled_test_cases_are_the_test_split(tmp_path: Path) -> None:
    root = write_nnunet(tmp_path)
    for name in ("case_8", "case_9"):
        write(root / f"imagesTs/{name}_0000.nii.gz", pixels(9))
        write(root / f"labelsTs/{name}.nii.gz", label(9))
    splits = [case.split for case in opened(root).cases()]
    assert splits == [None] * 4 + ["test"] * 2


@pytest.mark.parametrize("labels", [{"background": 0}, {"ignore": 3, "liver": 1}, {"liver": "one"}])
def test_labels_that_mean_nothing_are_refused(tmp_path: Path, labels: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"dataset\.json"):
        opened(write_nnunet(tmp_path, labels=labels)).classes()


def test_a_sat_list_numbers_the_names_of_each_scan_in_their_order(tmp_path: Path) -> None:
    layout = opened(write_jsonl(tmp_path))
    assert layout.classes() == ("head", "tail")
    # 1 means "Tail" in this file, which is the second class of the set.
    assert (marked(layout) == np.array([0, 2, 1])[label()]).all()
    assert layout.cases()[0].modality == "ct"


@pytest.mark.parametrize("form", ["channels", "folder", "list"])
def test_a_sat_mask_may_be_one_for_each_name(tmp_path: Path, form: str) -> None:
    masks = {"channels": "four.nii.gz", "folder": "masks", "list": ["tail.nii.gz", "head.nii.gz"]}
    write(tmp_path / "four.nii.gz", BOTH)
    for folder in ("masks", "."):
        write(tmp_path / folder / "Tail.nii.gz", BOTH[..., 0])
        write(tmp_path / folder / "Head.nii.gz", BOTH[..., 1])
        write(tmp_path / folder / "tail.nii.gz", BOTH[..., 0])
        write(tmp_path / folder / "head.nii.gz", BOTH[..., 1])
    layout = opened(write_jsonl(tmp_path, mask=masks[form]))
    assert (marked(layout) == np.array([0, 2, 1])[label()]).all()


def test_sat_masks_may_overlap(tmp_path: Path) -> None:
    write(tmp_path / "four.nii.gz", np.stack([label() > 0, label() == 1], axis=3).astype(np.uint8))
    found = marked(opened(write_jsonl(tmp_path, mask="four.nii.gz")))
    assert (found == np.stack([label() == 1, label() > 0])).all()


@pytest.mark.parametrize(
    "line", ["no json", '{"label": ["a"]}', '{"image": "a.nii", "label": "a"}']
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "train.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(UserError, match=r"train\.jsonl, line 2"):
        opened(tmp_path).cases()


def test_a_manifest_says_patient_split_and_modality(tmp_path: Path) -> None:
    row = "imagesTr/case_0.nii.gz;labelsTr/case_0.nii.gz;Ann;val;CT"
    root = write_manifest(tmp_path, row, header="Image;Label;Patient;Split;Modality")
    (root / "labels.json").write_text('{"1": "Head", "2": "Tail"}')
    layout = opened(root)
    (case,) = layout.cases()
    assert (case.patient, case.split, case.modality) == ("Ann", "validation", "ct")
    assert layout.classes() == ("head", "tail")


def test_a_manifest_may_say_path_and_mask(tmp_path: Path) -> None:
    layout = opened(write_manifest(tmp_path, header="path,mask"))
    assert (marked(layout) == label(0)).all()


def test_without_names_classes_are_called_by_their_values(tmp_path: Path) -> None:
    layout = opened(write_manifest(tmp_path / "livers"))
    assert layout.classes() == ("livers 1", "livers 2")


def test_one_of_several_regions_must_be_named(tmp_path: Path) -> None:
    rows = [f"imagesTr/case_{i}.nii.gz,labelsTr/case_{i}.nii.gz,{r}" for i, r in enumerate("ab")]
    root = write_manifest(tmp_path, *rows, header="image,label,region")
    with pytest.raises(UserError, match=r"several regions \(a, b\)"):
        opened(root).cases()
    with pytest.raises(UserError, match="no region 'c'"):
        opened(root, task="c").cases()
    assert [case.region for case in opened(root, task="b").cases()] == ["b"]


@pytest.mark.parametrize(
    ("row", "told"), [("imagesTr/case_0.nii.gz,,later", "split 'later'"), (",x,", "`image`")]
)
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, row: str, told: str) -> None:
    rows = ["imagesTr/case_0.nii.gz,,", row]
    root = write_manifest(tmp_path, *rows, header="image,label,split")
    with pytest.raises(UserError, match=rf"line 3: .*{told}"):
        opened(root).cases()


def test_series_of_one_folder_are_cases_of_their_own(tmp_path: Path) -> None:
    write_series(tmp_path / "head", "1.2.3")
    write_series(tmp_path / "head", "1.2.4", RescaleSlope=2, RescaleIntercept=0)
    layout = opened(tmp_path, name="dicom_series")
    cases = layout.cases()
    assert {layout.read(case).pixels.max() for case in cases} == {59, 118}
    assert len({case.patient for case in cases}) == 1
    assert "Jane" not in repr(cases)


def test_masks_of_series_need_names(tmp_path: Path) -> None:
    root = write_labelled_series(tmp_path)
    (root / "labels.json").unlink()
    with pytest.raises(UserError, match=r"labels\.json: is missing"):
        opened(root).classes()


def test_patients_are_read_off_paths(tmp_path: Path) -> None:
    cases = with_patients(opened(write_msd(tmp_path, 2)).cases(), r"case_(\d)")
    assert [case.patient for case in cases] == ["0", "1"]


def test_classes_have_one_spelling() -> None:
    assert class_name(" Right_Kidney ") == class_name("right kidney") == "right kidney"


def test_a_layout_is_known_by_its_name_and_its_look(tmp_path: Path) -> None:
    root = write_msd(tmp_path / "data", 1)
    assert lays_out("msd", root) and lays_out("decathlon", root)
    assert not lays_out("nnunet", root) and not lays_out("msd", tmp_path / "absent")


def test_a_layout_names_the_regions_of_its_cases(tmp_path: Path) -> None:
    rows = [f"imagesTr/case_{i}.nii.gz,labelsTr/case_{i}.nii.gz,{r}" for i, r in enumerate("ab")]
    root = write_manifest(tmp_path / "two", *rows, header="image,label,region")
    assert opened(root).regions() == ("a", "b")
    assert opened(write_msd(tmp_path / "one", 1)).regions() == ()


def test_a_damaged_label_names_no_class_and_stops_nothing(tmp_path: Path) -> None:
    root = write_manifest(tmp_path / "livers")
    (root / "labelsTr/case_0.nii.gz").write_bytes(b"broken")
    assert opened(root).classes() == ("livers 1", "livers 2")


def test_normalisation_of_nnunet_tells_no_modality(tmp_path: Path) -> None:
    (case, *_) = opened(write_nnunet(tmp_path, channel_names={"0": "zscore"})).cases()
    assert case.modality is None


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not beside this checkout")
@pytest.mark.parametrize(
    ("folder", "count", "classes"),
    [
        ("hippocampus", 260, ("anterior", "posterior")),
        ("Dataset101_AbdomenMR", 20, ("liver", "right kidney", "left kidney", "spleen")),
        ("Dataset102_CardiacMR", 35, ("myocardium", "left ventricle", "right ventricle")),
        ("dicom_series", 2, ()),
    ],
)
def test_real_roots_are_recognised(folder: str, count: int, classes: tuple[str, ...]) -> None:
    layout = opened(REAL / folder)
    assert len(layout.cases()) == count
    assert layout.classes() == classes


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not beside this checkout")
@pytest.mark.parametrize("folder", ["covid_ct", "busi", "mednist", "medmnist", "covid_chest_xray"])
def test_real_images_are_no_volumes(folder: str) -> None:
    assert open_volumes_root(REAL / folder) is None
