"""A root of scans becomes a data set: split, prepared, and the same again tomorrow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.data.splits import SplitRules
from medistill.data.volumes.layouts.base import open_volumes_root
from medistill.data.volumes.opening import OpenedVolumes, open_volumes
from medistill.errors import UserError
from medistill.grids import turned_affine
from medistill.scans import Preparation, read_scan, restore
from tests.volumes import REAL, label, pixels, straight, write, write_msd, write_pairs

RULES = SplitRules(test=0.25, validation=0.25)


def opened(root: Path, **settings: Any) -> OpenedVolumes:
    layout = open_volumes_root(root)
    assert layout is not None
    settings = {"preparation": None, "rules": RULES, "folder": root / "store", **settings}
    return open_volumes("ends", layout, layout.cases(), **settings)


def test_the_spacing_is_the_median_of_the_training_cases(tmp_path: Path) -> None:
    write_msd(tmp_path, 7, straight((1, 1.25, 3)))
    write(tmp_path / "imagesTr/case_0.nii.gz", pixels(0), straight((2, 2, 2)))
    write(tmp_path / "labelsTr/case_0.nii.gz", label(0), straight((2, 2, 2)))
    assert opened(tmp_path).dataset.preparation.spacing_mm == (1, 1.25, 3)


def write_tilted(root: Path) -> Path:
    """Slices of 5 mm that lie now nearer to the one axis of the body, now to the other."""
    root.mkdir(exist_ok=True)
    write_msd(root, 8)
    for seed in range(8):
        tilted = tilt(seed)
        write(root / f"imagesTr/case_{seed}.nii.gz", pixels(seed), tilted)
        write(root / f"labelsTr/case_{seed}.nii.gz", label(seed), tilted)
    return root


def tilt(seed: int) -> np.ndarray:
    angle = np.radians(40 + 10 * (seed % 2))
    tilted = np.eye(4)
    tilted[:2, :2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    return np.asarray(tilted @ straight((5, 1, 1)))


def test_slices_between_the_axes_of_the_body_are_turned_to_one_another(tmp_path: Path) -> None:
    found = opened(write_tilted(tmp_path))
    frame = found.dataset.preparation.frame
    assert found.dataset.preparation.spacing_mm == (1, 1, 5)
    assert frame is not None and np.linalg.det(np.reshape(frame, (3, 3))) > 0
    assert "oblique" in {finding.kind for finding in found.findings}
    for row, case in enumerate(found.cases):
        trace = found.dataset.traces[row]
        assert trace is not None and trace.axes[2] == 0
        shown = turned_affine(tilt(row), trace.shape, trace.axes, trace.flips)
        assert np.linalg.det(shown[:3, :3]) > 0  # the scan, and no mirror image of it
        back = restore(np.asarray(found.dataset.volumes.label(row)), trace)
        assert (back == read_scan(tmp_path / str(case.label)).pixels).all()


def test_a_spacing_that_is_given_is_along_the_axes_of_the_body(tmp_path: Path) -> None:
    # As released weights want it: they never saw directions of these scans' own.
    preparation = opened(write_tilted(tmp_path), preparation=(1.0, 1.0, 3.0)).dataset.preparation
    assert preparation == Preparation(spacing_mm=(1.0, 1.0, 3.0))


def test_rows_hold_images_labels_and_traces_that_lead_back(tmp_path: Path) -> None:
    found = opened(write_msd(tmp_path, affine=np.diag([-1.0, 1.5, -2.0, 1.0])))
    dataset = found.dataset
    assert dataset.task.classes == ("head", "tail")
    assert len(dataset) == 8
    for row, case in enumerate(found.cases):
        trace = dataset.traces[row]
        assert trace is not None
        assert dataset.volumes.image(row).dtype == np.float16
        back = restore(np.asarray(dataset.volumes.label(row)), trace)
        assert (back == read_scan(tmp_path / str(case.label)).pixels).all()


def test_opened_again_nothing_is_read_and_all_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(write_msd(tmp_path))
    monkeypatch.setattr("medistill.data.volumes.layouts.base.read_scan", None)
    second = opened(tmp_path)
    assert first.facts == second.facts
    assert first.dataset.traces == second.dataset.traces
    assert (first.dataset.volumes.image(0) == second.dataset.volumes.image(0)).all()


def test_splits_are_saved_and_used_again(tmp_path: Path) -> None:
    first = opened(write_msd(tmp_path))
    first.save_splits(tmp_path / "splits.json")
    other = {"rules": SplitRules(seed=5, test=0.5), "saved_splits": tmp_path / "splits.json"}
    again = opened(tmp_path, **other)
    assert {k: v.tolist() for k, v in first.dataset.splits.items()} == {
        k: v.tolist() for k, v in again.dataset.splits.items()
    }
    write(tmp_path / "imagesTr/case_0.nii.gz", pixels(99))
    with pytest.raises(UserError, match="data changed since"):
        opened(tmp_path, **other)


def test_a_fraction_of_the_training_cases_is_part_of_them(tmp_path: Path) -> None:
    write_msd(tmp_path, 12)
    whole, half = opened(tmp_path), opened(tmp_path, rules=SplitRules(fraction=0.5))
    assert len(half.dataset.splits["left_out"]) > 0
    assert {*half.dataset.splits["train"]} < {*whole.dataset.splits["train"]}


def test_scans_of_one_patient_stand_in_one_split(tmp_path: Path) -> None:
    pairs = [f"imagesTr/case_{i}.nii.gz,labelsTr/case_{i}.nii.gz,{i // 2}" for i in range(8)]
    write_msd(tmp_path)
    (tmp_path / "dataset.json").unlink()
    (tmp_path / "manifest.csv").write_text("\n".join(["image,label,patient", *pairs]))
    found = opened(tmp_path)
    for part, rows in found.dataset.splits.items():
        own = {found.dataset.patients[row] for row in rows}
        others = [r for name, r in found.dataset.splits.items() if name != part]
        assert not own & {found.dataset.patients[row] for r in others for row in r}


def test_a_scan_without_a_label_stands_in_no_split(tmp_path: Path) -> None:
    root = write_msd(tmp_path)
    document = json.loads((root / "dataset.json").read_text())
    del document["training"][3]["label"]
    (root / "dataset.json").write_text(json.dumps(document))
    found = opened(root)
    assert 3 not in np.concatenate(list(found.dataset.splits.values()))
    assert found.dataset.traces[3] is None


def test_scans_without_any_label_are_a_task_without_classes(tmp_path: Path) -> None:
    root = write_msd(tmp_path)
    document = json.loads((root / "dataset.json").read_text())
    training = [{"image": pair["image"]} for pair in document["training"]]
    (root / "dataset.json").write_text(json.dumps({**document, "training": training}))
    found = opened(root).dataset
    assert (found.task.kind, found.task.classes) == ("unlabelled", ())
    assert len(found.splits["train"]) > 0


def test_classes_that_were_not_looked_for_are_not_known(tmp_path: Path) -> None:
    for name, names in (("a", ["head", "tail"]), ("b", ["tail"]), ("c", ["head"])):
        write(tmp_path / f"{name}.nii.gz", pixels(ord(name)))
        write(tmp_path / f"{name}_mask.nii.gz", label(classes=len(names)))
        row = {"image": f"{name}.nii.gz", "label": names, "mask": f"{name}_mask.nii.gz"}
        with (tmp_path / "all.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
    found = opened(tmp_path)
    assert found.dataset.known == ((0, 1), (1,), (0,))
    assert "partial_labels" in {finding.kind for finding in found.findings}


def test_cases_of_a_list_keep_the_data_set_that_they_come_from(tmp_path: Path) -> None:
    for seed, name in enumerate(["CHAOS", "Amos", "", "chaos "]):
        write(tmp_path / f"{seed}.nii.gz", pixels(seed))
        write(tmp_path / f"{seed}_mask.nii.gz", label(seed))
        row = {"image": f"{seed}.nii.gz", "label": ["head", "tail"], "mask": f"{seed}_mask.nii.gz"}
        with (tmp_path / "all.jsonl").open("a") as file:
            file.write(json.dumps({**row, **({"dataset": name} if name else {})}) + "\n")
    dataset = opened(tmp_path).dataset
    assert dataset.sources == ("chaos", "amos", "", "chaos")
    apart = [rows.tolist() for rows in dataset.by_source(np.array([3, 1, 0, 2]))]
    assert apart == [[3, 0], [1], [2]]


def test_each_scan_is_treated_by_its_own_modality_and_a_mixed_set_is_told_of(
    tmp_path: Path,
) -> None:
    pairs = write_pairs(tmp_path, 8)
    kinds = ["ct", "ct", "ct", "mr", "mr", "mr", "mr", ""]
    rows = [f"{p['image']},{p['label']},{k}" for p, k in zip(pairs, kinds, strict=True)]
    (tmp_path / "manifest.csv").write_text("\n".join(["image,label,modality", *rows]))
    found = opened(tmp_path)
    assert [found.modality(row) for row in range(8)] == [*kinds[:7], "mr"]
    told = {finding.kind: finding for finding in found.findings}
    assert "CT 3, MR 5" in told["mixed_modalities"].message
    assert "--modality" in told["mixed_modalities"].message
    assert told["unknown_modality"].items == (found.facts[7].source,)


def test_a_preparation_that_is_given_is_used_but_for_a_known_modality(tmp_path: Path) -> None:
    wanted = Preparation(spacing_mm=(2.0, 2.0, 2.0), modality="mr", crop=False)
    root = write_msd(tmp_path, modality={"0": "CT"})
    dataset = opened(root, preparation=wanted).dataset
    assert dataset.preparation == wanted
    assert dataset.volumes.image(0).shape == (6, 7, 5)
    # A window of Hounsfield units lets more of these values through than percentiles do.
    ct = np.asarray(dataset.volumes.image(0), np.float32)
    root = write_msd(tmp_path, modality={"0": "MRI"})
    mr = np.asarray(opened(root, preparation=wanted).dataset.volumes.image(0), np.float32)
    assert not np.allclose(ct, mr)


def test_nothing_that_can_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    root = write_msd(tmp_path, 2)
    for path in (root / "imagesTr").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(UserError, match="ends: none of the 2 volumes could be read"):
        opened(root)


def test_progress_goes_through_reading_and_preparing(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    opened(write_msd(tmp_path), on_progress=lambda *both: seen.append(both))
    assert seen[-1] == (8, 8)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_region_is_the_name_unless_something_says_it(tmp_path: Path) -> None:
    root = write_msd(tmp_path)
    assert opened(root).dataset.task.region == "ends"
    assert opened(root).within("brain").dataset.task.region == "brain"


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not beside this checkout")
def test_real_hearts_keep_their_slices(tmp_path: Path) -> None:
    layout = open_volumes_root(REAL / "Dataset102_CardiacMR")
    assert layout is not None
    cases = layout.cases()[:9]  # of either orientation
    found = open_volumes(
        "heart", layout, cases, preparation=None, rules=RULES, folder=tmp_path
    ).dataset
    assert found.preparation.spacing_mm == pytest.approx((2.5, 2.5, 7.99))
    assert found.preparation.frame is not None
