"""Volumes are prepared once; who is interrupted goes on where he was."""

import errno
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from medistill.data.volumes import store
from medistill.data.volumes.layouts.base import VolumeLayout, open_volumes_root
from medistill.data.volumes.store import StoredVolumes, prepare_all, survey
from medistill.errors import Failure, UserError
from medistill.scans import Preparation
from tests.volumes import pixels, write, write_msd

WAY = Preparation(spacing_mm=(1.0, 1.0, 1.0))


def prepared(layout: VolumeLayout, folder: Path, way: Preparation = WAY) -> StoredVolumes:
    cases = layout.cases()
    folder.mkdir(exist_ok=True)
    rows = {
        row: (case, facts, way)
        for row, (case, facts) in enumerate(zip(cases, survey(layout, cases, folder), strict=True))
    }
    return prepare_all(layout, rows, len(cases), folder)[0]


@pytest.fixture
def layout(tmp_path: Path) -> VolumeLayout:
    found = open_volumes_root(write_msd(tmp_path / "data", 4))
    assert found is not None
    return found


def test_who_is_interrupted_goes_on_where_he_was(
    layout: VolumeLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    prepare_one = store._prepare_one

    def interrupted(layout, case, preparation, stem):  # type: ignore[no-untyped-def]
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(case.name)
        return prepare_one(layout, case, preparation, stem)

    monkeypatch.setattr(store, "cores", lambda: 1)
    monkeypatch.setattr(store, "_prepare_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared(layout, tmp_path / "store")
    again: list[str] = []
    monkeypatch.setattr(
        store, "_prepare_one", lambda *a: again.append(a[1].name) or prepare_one(*a)
    )
    prepared(layout, tmp_path / "store")
    assert sorted(done + again) == [f"case_{i}" for i in range(4)]


def test_another_preparation_is_stored_beside_the_first(
    layout: VolumeLayout, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    first = prepared(layout, folder)
    coarse = prepared(layout, folder, Preparation(spacing_mm=(2.0, 2.0, 2.0)))
    assert first.image(0).shape != coarse.image(0).shape
    assert (first.image(0) == prepared(layout, folder).image(0)).all()


def test_a_changed_file_is_read_again(layout: VolumeLayout, tmp_path: Path) -> None:
    before = np.array(prepared(layout, tmp_path / "store").image(1))
    write(tmp_path / "data/imagesTr/case_1.nii.gz", pixels(50))
    after = prepared(layout, tmp_path / "store").image(1)
    assert before.shape != after.shape or not (before == after).all()


def test_nothing_but_whole_files_lie_in_the_store(layout: VolumeLayout, tmp_path: Path) -> None:
    prepared(layout, tmp_path / "store")
    assert not list((tmp_path / "store").glob(".*"))


@pytest.mark.parametrize("reason", [errno.ENOSPC, None])
def test_a_full_disk_is_one_line(
    layout: VolumeLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int | None
) -> None:
    error = OSError(reason, "full") if reason else OSError("540 requested and 12 written")

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(store, "_write_array", full)
    with pytest.raises(Failure, match="The disk was full before the volume store") as told:
        prepared(layout, tmp_path / "store")
    assert "\n" not in str(told.value)


def test_too_little_room_is_told_before_the_work(
    layout: VolumeLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 100})
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: free)
    with pytest.raises(UserError, match=r"needs up to 0\.0 GB"):
        prepared(layout, tmp_path / "store")


def test_classes_that_overlap_take_a_map_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"0": "background", "whole": [1, 2], "core": 2}
    needed = {}
    for name, told in (("apart", None), ("overlapping", labels)):
        root = write_msd(tmp_path / name, 1, **({"labels": told} if told else {}))
        layout = open_volumes_root(root)
        assert layout is not None
        (facts,) = survey(layout, layout.cases(), root)
        voxels = int(np.prod(facts.shape))
        for free in range(2 * voxels, 6 * voxels, voxels):
            usage = type("Usage", (), {"free": free})
            monkeypatch.setattr(store.shutil, "disk_usage", lambda _, usage=usage: usage)
            with suppress(UserError):
                store._check_room(root, [(facts, WAY)])
                needed.setdefault(name, free // voxels)
    # Two bytes of the image, and one of each label map.
    assert needed == {"apart": 3, "overlapping": 4}


def test_a_damaged_volume_is_told(layout: VolumeLayout, tmp_path: Path) -> None:
    volumes = prepared(layout, tmp_path / "store")
    for path in (tmp_path / "store").glob("*.image.npy"):
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="is damaged"):
        volumes.image(0)


def test_damaged_facts_are_found_again(layout: VolumeLayout, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    first = survey(layout, layout.cases(), folder)
    for path in folder.glob("*.facts-*.json"):
        path.write_text("{")
    assert survey(layout, layout.cases(), folder) == first
