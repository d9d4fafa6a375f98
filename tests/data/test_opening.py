"""From a folder to a data set: rows, targets, splits and what is wrong with them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medistill.data.layouts.base import open_root
from medistill.data.opening import Opened, open_dataset
from medistill.data.phantoms import FINDINGS, make_phantoms
from medistill.data.splits import SplitRules
from medistill.errors import UserError

RULES = SplitRules()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_phantoms(tmp_path / "images", "brain_mr", per_class=5, size=24)


def opened(root: Path, *, rules: SplitRules = RULES, saved: Path | None = None) -> Opened:
    layout = open_root(root)
    return open_dataset(
        "brain", layout, layout.samples(), size=16, rules=rules, folder=root.parent / "store",
        saved_splits=saved,
    )  # fmt: skip


def test_rows_targets_and_splits_belong_together(images: Path) -> None:
    found = opened(images)
    dataset = found.dataset
    assert dataset.task.classes == FINDINGS
    assert dataset.store.images.shape == (15, 16, 16, 1)
    assert [FINDINGS[target] for target in dataset.targets] == [s.label for s in found.samples]
    rows = np.concatenate(list(dataset.splits.values()))
    assert sorted(rows.tolist()) == list(range(15))
    assert not found.findings or all(f.severity != "error" for f in found.findings)


def test_splits_are_saved_by_digest_and_used_again(images: Path, tmp_path: Path) -> None:
    first, file = opened(images), tmp_path / "splits.json"
    first.save_splits(file)
    assert "0000" not in json.dumps([*json.loads(file.read_text())["brain"]["how"]])
    again = opened(images, rules=SplitRules(seed=1), saved=file)
    for part, rows in first.dataset.splits.items():
        assert np.array_equal(again.dataset.splits[part], rows)


def test_a_file_that_cannot_be_read_stands_in_no_split_and_is_named(images: Path) -> None:
    (images / "smooth" / "0002.png").write_bytes(b"no image")
    found = opened(images)
    row = [sample.source for sample in found.samples].index("smooth/0002.png")
    assert all(row not in rows for rows in found.dataset.splits.values())
    (finding,) = (f for f in found.findings if f.kind == "unreadable")
    assert finding.severity == "error"
    assert "smooth/0002.png" in finding.items[0]


def test_a_row_that_repeats_a_file_stands_in_no_split(images: Path) -> None:
    lines = ["path,label", *(f"smooth/{n:04d}.png,a" for n in range(5))]
    lines += [*(f"normal/{n:04d}.png,b" for n in range(5)), "smooth/0000.png,a"]
    (images / "manifest.csv").write_text("\n".join(lines))
    found = opened(images)
    assert len(found.samples) == 11
    assert sum(len(rows) for rows in found.dataset.splits.values()) == 10


def test_images_without_labels_make_an_unlabelled_task(images: Path) -> None:
    task = opened(images / "normal").dataset.task
    assert (task.kind, task.classes, task.samples) == ("unlabelled", (), 5)


def test_nothing_to_read_is_an_error(images: Path) -> None:
    for file in images.rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 15 images could be read"):
        opened(images)


def test_how_the_splits_came_about_is_told(images: Path, tmp_path: Path) -> None:
    assert "cut out of train" in opened(images).how
    shutil.copytree(images, tmp_path / "official" / "train")
    shutil.copytree(images, tmp_path / "official" / "test")
    assert "test: official" in opened(tmp_path / "official").how
