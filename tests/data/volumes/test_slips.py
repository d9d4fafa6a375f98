"""What people write into descriptions of volumes by mistake ends in one line, never in a crash."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.data.volumes.facts import describe
from medistill.data.volumes.layouts.base import VolumeLayout, channels_of, stem, values_of
from medistill.data.volumes.marking import label_map, whole_numbers
from medistill.errors import UserError
from tests.data.volumes.test_layouts import (
    marked,
    opened,
    write_jsonl,
    write_manifest,
    write_nnunet,
)
from tests.volumes import label, scan, write, write_msd, write_pairs

WHERE = Path("dataset.json")


def refusal(layout: VolumeLayout) -> str:
    """What is said when the root is read as a run reads it."""
    with pytest.raises(UserError) as raised:
        for case in layout.cases():
            describe(layout, case, "digest")
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("told", "names"),
    [({"0": "CT", "1": "PET"}, ["CT", "PET"]), (["T1"], ["T1"]), ("MRI", ["MRI"]), (None, [])],
)
def test_channels_are_understood_in_every_form_in_which_people_write_them(
    told: Any, names: list[str]
) -> None:
    assert channels_of(told) == names


@pytest.mark.parametrize("told", ["CT", ["CT"], {"0": "CT"}])
def test_a_modality_counts_whatever_its_form(tmp_path: Path, told: Any) -> None:
    msd = opened(write_msd(tmp_path / "msd", 1, modality=told))
    nnunet = opened(write_nnunet(tmp_path / "nnunet", channel_names=told))
    assert {case.modality for layout in (msd, nnunet) for case in layout.cases()} == {"ct"}


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["background", "liver"], "an object of names and numbers is needed"),
        ("liver", "an object of names and numbers is needed"),
        ({"liver": -1}, "label 'liver' is -1; values are from 0 to 65535"),
        ({"liver": [1, -1]}, r"is \[1, -1\]; values"),
        ({"70000": "liver"}, "label '70000' is 'liver'; values are from"),
        ({"liver": None}, "a name and a number are needed"),
        ({}, "names no label but background"),
    ],
)
def test_labels_that_no_label_map_could_hold_are_refused(labels: Any, told: str) -> None:
    with pytest.raises(UserError, match=rf"^dataset\.json: .*{told}"):
        values_of(labels, WHERE)


def test_labels_may_stand_in_either_direction_and_under_any_spelling() -> None:
    one = values_of({"0": "background", "2": "Left_Kidney", "1": "liver"}, WHERE)
    other = values_of({"liver": 1, "background": 0, " left  kidney": [2]}, WHERE)
    assert one == other == {"liver": (1,), "left kidney": (2,)}
    assert list(one) == ["liver", "left kidney"]
    # Two values of one name are one class.
    assert values_of({"1": "Kidney", "2": "kidney"}, WHERE) == {"kidney": (1, 2)}


@pytest.mark.parametrize(
    "row", [{"images": []}, {"images": ["a.nii.gz", "b.nii.gz"]}, {"images": "a.nii.gz"}, {}, "a"]
)
def test_a_case_of_nnunet_that_names_not_one_image_is_told(tmp_path: Path, row: Any) -> None:
    told = refusal(opened(write_nnunet(tmp_path, dataset={"case_7": row})))
    assert "case 'case_7' is " in told and "one of `images` is needed" in told


def test_a_list_of_nnunet_may_leave_a_label_out(tmp_path: Path) -> None:
    rows = {"a": {"images": ["imagesTr/case_0_0000.nii.gz"]}}
    (case,) = opened(write_nnunet(tmp_path, dataset=rows)).cases()
    assert (case.name, case.labels) == ("a", ())


@pytest.mark.parametrize("row", [{"label": "a"}, {"image": 3}, ["imagesTr/case_0.nii.gz"], None])
def test_a_case_of_msd_without_an_image_is_told(tmp_path: Path, row: Any) -> None:
    told = refusal(opened(write_msd(tmp_path, 1, training=[row])))
    assert f"a training case is {row!r}, not an image and a label" in told


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"label": ["Head", "head", "tail"]}, "name each class in the mask once"),
        ({"label": []}, "name each class in the mask once"),
        ({"image": 3}, "an `image`, and a list of names"),
        ({"label": None}, "an `image`, and a list of names"),
        ({"split": "later"}, "split 'later' is none of train, validation, test"),
    ],
)
def test_a_line_of_a_sat_list_that_means_nothing_is_told_by_its_number(
    tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    assert f"train.jsonl, line 1: {told}" in refusal(opened(write_jsonl(tmp_path, **more))).replace(
        f"`label` is {more.get('label')!r}; ", ""
    )


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_masks_as_classes_are_needed(tmp_path: Path, count: int) -> None:
    layout = opened(write_jsonl(tmp_path, mask=["mask.nii.gz"] * count))
    (case,) = layout.cases()
    facts = describe(layout, case, "digest")
    assert facts.error == f"masks found: {count}, classes: 2; one mask for each class is needed"
    assert not facts.labelled and facts.shape == label().shape


def test_a_scan_that_is_named_as_a_label_is_told_by_its_many_classes(tmp_path: Path) -> None:
    rows = [f"{pair['label']},{pair['image']}" for pair in write_pairs(tmp_path, 2)]
    told = refusal(opened(write_manifest(tmp_path, *rows)))
    assert "classes, but a label map holds 255; is a scan named as a label?" in told


def test_as_many_classes_as_a_byte_tells_apart_are_no_too_many(tmp_path: Path) -> None:
    values = np.zeros((16, 16, 2), np.int16)
    values.flat[:255] = np.arange(1, 256)
    write(tmp_path / "a.nii.gz", values)
    layout = opened(write_manifest(tmp_path, "a.nii.gz,a.nii.gz"))
    assert len(layout.classes()) == 255
    assert (marked(layout) == values).all()


def test_a_row_may_end_before_its_empty_cells(tmp_path: Path) -> None:
    rows = ["imagesTr/case_0.nii.gz", "imagesTr/case_1.nii.gz,labelsTr/case_1.nii.gz,Ann,x,y"]
    layout = opened(write_manifest(tmp_path, *rows, header="image,label,patient"))
    assert [(case.label, case.patient) for case in layout.cases()] == [
        (None, None),
        ("labelsTr/case_1.nii.gz", "Ann"),
    ]


def test_values_that_are_no_class_are_background_and_never_wrap_onto_one() -> None:
    values = np.array([[[np.nan, np.inf, -np.inf, 2.0**32 + 512, 1e30, -1e30, 1.4, 0.6]]])
    found = whole_numbers(scan(values))
    assert found[0, 0, :3].tolist() == [0, 0, 0]
    assert (np.abs(found[0, 0, 3:6]) >= 2**30).all()
    assert found[0, 0, 6:].tolist() == [1, 1]


def test_a_label_with_such_values_is_read_and_they_are_told(tmp_path: Path) -> None:
    root, values = write_manifest(tmp_path), label(0).astype(np.float32)
    values[0, 0, :3] = np.inf, 1e12, -4
    write(root / "labelsTr/case_0.nii.gz", values)
    layout = opened(root)
    assert len(layout.classes()) == 2
    assert (marked(layout) == label(0)).all()
    facts = describe(layout, layout.cases()[0], "digest")
    assert facts.unknown == (-4, 2**30) and facts.voxels == (27, 27)


def test_a_mask_of_overlapping_classes_is_one_map_where_they_do_not_meet(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    layout = opened(write_nnunet(tmp_path, labels=labels))
    case, only_one = layout.cases()[0], np.where(label() == 2, 0, label())
    assert label_map([scan(only_one)], case, layout).ndim == 3
    assert label_map([scan(label())], case, layout).shape == (2, *label().shape)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "b/a", "./x/a.nii.gz"])
def test_a_case_is_called_by_its_file_alone(name: str) -> None:
    assert stem(name) == "a"


@pytest.mark.parametrize("content", ["[1, 2]", "{", "\xff", '"text"'])
def test_a_description_that_is_no_object_is_told(tmp_path: Path, content: str) -> None:
    root = write_manifest(tmp_path)
    (root / "labels.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"labels\.json: cannot be read as a JSON object"):
        opened(root).classes()


def test_facts_come_back_from_json_as_they_were(tmp_path: Path) -> None:
    from dataclasses import asdict

    layout = opened(write_msd(tmp_path, 1))
    facts = describe(layout, layout.cases()[0], "digest")
    assert type(facts).from_document(json.loads(json.dumps(asdict(facts)))) == facts
    assert facts.labelled and facts.spacing_mm() == (1, 1, 1)
