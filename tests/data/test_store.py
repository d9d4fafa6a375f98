"""Images decoded once and memory-mapped ever after."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medistill.data import building
from medistill.data.building import shrink
from medistill.data.layouts.base import Layout, Sample
from medistill.data.picture import Picture, decode_array
from medistill.data.store import Store, build_store
from medistill.errors import UserError

SIZE = 16
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "covid_ct"


class _Flat(Layout):
    """Every file of a folder; counts what it reads."""

    reads = 0

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return True

    def samples(self) -> list[Sample]:
        return [Sample(path.name) for path in sorted(self.root.iterdir())]

    def read(self, sample: Sample) -> Picture:
        self.reads += 1
        return super().read(sample)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(5):
        pixels = generator.integers(0, 256, (20 + number, 30), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def _colour(path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _store(
    root: Path, *, size: int = SIZE, skip: bool = False, layout: Layout | None = None
) -> Store:
    layout = layout or _Flat(root)
    folder = root.parent / "stores"
    return build_store(layout, layout.samples(), size=size, folder=folder, skip_unreadable=skip)


def _stores(root: Path) -> list[Path]:
    return sorted(p for p in (root.parent / "stores").iterdir() if p.is_dir())


def test_a_row_is_the_resized_image(root: Path) -> None:
    store = _store(root)
    pixels = np.asarray(Image.open(root / "3.png"))[..., None]
    assert store.images.shape == (5, SIZE, SIZE, 1)
    np.testing.assert_array_equal(store.images[3], shrink(pixels, SIZE))
    assert (store.entries[3].source, store.entries[3].height) == ("3.png", 23)


def test_halves_are_rounded_to_the_even_value() -> None:
    pixels = np.array([[0, 1], [0, 1]], np.uint8)[..., None]
    assert shrink(pixels, 1).item() == 0
    assert shrink(pixels + 1, 1).item() == 2


def test_a_ready_store_is_opened_without_decoding(root: Path) -> None:
    built, layout = _store(root), _Flat(root)
    again = _store(root, layout=layout)
    assert layout.reads == 0
    assert (again.key, again.entries) == (built.key, built.entries)
    np.testing.assert_array_equal(again.images, built.images)


def test_a_store_cannot_be_written_to(root: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        _store(root).images[0] = 0


@pytest.mark.parametrize("change", ["content", "size", "more files"])
def test_other_images_have_another_key(root: Path, change: str) -> None:
    before = _store(root)
    if change == "content":
        shutil.copy(root / "1.png", root / "0.png")
    if change == "more files":
        shutil.copy(root / "1.png", root / "9.png")
    assert _store(root, size=8 if change == "size" else SIZE).key != before.key


def test_a_folder_that_moved_has_the_same_key(root: Path) -> None:
    before = _store(root)
    moved = root.rename(root.parent / "elsewhere")
    layout = _Flat(moved)
    assert _store(moved, layout=layout).key == before.key
    assert layout.reads == 0


@pytest.mark.parametrize("name", ["00.png", "3a.png", "z.png"])
def test_one_colour_image_makes_a_store_of_colour(root: Path, name: str) -> None:
    grey = _store(root)
    colour = _colour(root / name)
    store = _store(root)
    place = [entry.source for entry in store.entries].index(name)
    assert store.images.shape == (6, SIZE, SIZE, 3)
    np.testing.assert_array_equal(store.images[place], shrink(np.asarray(Image.open(colour)), SIZE))
    others = np.delete(store.images, place, axis=0)
    np.testing.assert_array_equal(others, np.repeat(grey.images, 3, axis=3))


def test_unreadable_files_are_named_and_counted(root: Path) -> None:
    for name in ("1.png", "2.png"):
        (root / name).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"2 of 5 images .*1\.png: .*2\.png: .*skip_unreadable"):
        _store(root)


def test_a_skipped_file_has_a_black_row_and_says_why(root: Path) -> None:
    (root / "1.png").write_bytes(b"no image")
    store = _store(root, skip=True)
    assert not store.images[1].any()
    assert [entry.error is None for entry in store.entries] == [True, False, True, True, True]
    assert str(root) not in str(store.entries[1].error)


def test_a_missing_file_is_unreadable(root: Path) -> None:
    samples = [*_Flat(root).samples(), Sample("gone.png")]
    folder = root.parent / "stores"
    with pytest.raises(UserError, match=r"1 of 6 images .*gone\.png: No such file"):
        build_store(_Flat(root), samples, size=SIZE, folder=folder)


def test_a_mended_file_is_read(root: Path) -> None:
    good = (root / "1.png").read_bytes()
    (root / "1.png").write_bytes(b"no image")
    _store(root, skip=True)
    (root / "1.png").write_bytes(good)
    assert _store(root).images[1].any()


def test_a_root_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images"):
        build_store(_Flat(tmp_path), [], size=SIZE, folder=tmp_path / "stores")


def test_progress_counts_every_image(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    layout = _Flat(root)
    build_store(
        layout,
        layout.samples(),
        size=SIZE,
        folder=root.parent / "stores",
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 5) for done in range(1, 6)]


class _Archive(Layout):
    """Images of an array file."""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return True

    def samples(self) -> list[Sample]:
        return [Sample(f"set.npz#train/{number}") for number in range(3)]

    def read(self, sample: Sample) -> Picture:
        with np.load(self.root / "set.npz") as arrays:
            return decode_array(arrays["train"][int(sample.source[-1])])


def test_images_of_an_array_file_are_known_by_file_and_place(tmp_path: Path) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    np.savez(tmp_path / "set.npz", train=arrays)
    layout, folder = _Archive(tmp_path), tmp_path / "stores"
    store = build_store(layout, layout.samples(), size=28, folder=folder)
    np.testing.assert_array_equal(store.images[..., 0], arrays)
    digests = {entry.file_digest for entry in store.entries}
    assert len(digests) == 3
    assert len({digest.partition("#")[0] for digest in digests}) == 1
    np.savez(tmp_path / "set.npz", train=arrays[::-1])
    assert build_store(layout, layout.samples(), size=28, folder=folder).key != store.key


def test_too_small_a_disk_is_told_before_the_work(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9, 100))
    layout = _Flat(root)
    with pytest.raises(UserError, match=r"needs 0\.0 GB, .* has 0\.0 GB free.*data\.size"):
        _store(root, layout=layout)
    assert layout.reads == 0


def test_a_disk_that_fills_up_leaves_one_line_and_no_files(root: Path) -> None:
    # A limit on the size of files, as near to a full disk as a test may come.
    code = _BUILDER + "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    code += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nstart()\n"
    done = _python(code, root, wait=True)
    assert "could not be written: [Errno 27] File too large" in done
    assert _stores(root) == []


def test_a_full_disk_is_called_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(building._Rows, "append", full)
    with pytest.raises(UserError, match=r"The disk was full .* nothing of it was kept"):
        _store(root)
    assert _stores(root) == []


def test_a_damaged_store_is_named(root: Path) -> None:
    _store(root)
    (place,) = _stores(root)
    (place / "images.npy").write_bytes(b"")
    with pytest.raises(UserError, match=f"{place} is damaged"):
        _store(root)


_BUILDER = """
import sys, time
from pathlib import Path
from medistill.data.store import build_store
from tests.data.test_store import _Flat

root = Path(sys.argv[1])
layout = _Flat(root)

def start(slowly=0.0):
    def on_progress(done, total):
        print(done, flush=True)
        time.sleep(slowly)
    folder = root.parent / "stores"
    try:
        samples = layout.samples()
        store = build_store(layout, samples, size=16, folder=folder, on_progress=on_progress)
        print(store.key)
    except Exception as error:
        print(error)
"""


def _process(code: str, root: Path) -> subprocess.Popen[str]:
    checkout = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root)], cwd=checkout, stdout=subprocess.PIPE, text=True
    )


def _python(code: str, root: Path, *, wait: bool) -> str:
    return _process(code, root).communicate(timeout=120)[0]


def test_two_processes_may_build_the_same_store_at_once(root: Path) -> None:
    builders = [_process(_BUILDER + "start(slowly=0.1)", root) for _ in range(2)]
    ends = [builder.communicate(timeout=120)[0].splitlines() for builder in builders]
    (place,) = _stores(root)
    assert [end[-1] for end in ends] == 2 * [_store(root).key]
    assert place.name == ends[0][-1][:32]


def test_a_builder_that_is_killed_leaves_nothing_in_the_way(root: Path) -> None:
    builder = _process(_BUILDER + "start(slowly=60)", root)
    assert builder.stdout is not None
    assert builder.stdout.readline() == "1\n"
    builder.kill()
    builder.communicate()
    (left,) = _stores(root)
    assert left.name.startswith(".building-")
    store = _store(root)
    (place,) = _stores(root)
    assert place.name == store.key[:32]
    assert len(json.loads((place / "entries.json").read_text())) == 5


@pytest.mark.parametrize(
    ("owner", "host", "age_seconds", "stays"),
    [
        (os.getpid(), None, 0, True),
        (os.getpid(), None, 100_000, False),
        (2**22 + 1, "another", 0, True),
        (2**22 + 1, None, 0, False),
    ],
    ids=["ours", "ours, old", "elsewhere", "dead"],  # a process number would differ by worker
)
def test_only_what_the_dead_left_is_cleared(
    root: Path, owner: int, host: str | None, age_seconds: int, stays: bool
) -> None:
    left = root.parent / "stores" / f".building-{owner}-abc@{host or os.uname().nodename}"
    left.mkdir(parents=True)
    then = time.time() - age_seconds
    os.utime(left, (then, then))
    _store(root)
    assert left.exists() == stays


def test_a_faster_builders_store_is_kept(root: Path) -> None:
    class Overtaken(_Flat):
        def read(self, sample: Sample) -> Picture:
            if self.reads == 0:
                self.reads += 1
                _store(root)
            return super().read(sample)

    slower = _store(root, layout=Overtaken(root))
    assert len(_stores(root)) == 1
    np.testing.assert_array_equal(slower.images, _store(root).images)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real images in ../shared/data/covid_ct")
def test_real_slices_of_many_sizes_come_to_one(tmp_path: Path) -> None:
    class Slices(_Flat):
        def samples(self) -> list[Sample]:
            files: Sequence[Path] = sorted((self.root / "val").rglob("*.jpg"))[:12]
            return [Sample(path.relative_to(self.root).as_posix()) for path in files]

    layout = Slices(REAL)
    store = build_store(layout, layout.samples(), size=32, folder=tmp_path)
    assert len({(entry.height, entry.width) for entry in store.entries}) > 3
    for row, sample in zip(store.images, layout.samples(), strict=True):
        wanted = shrink(layout.read(sample).pixels, 32)
        np.testing.assert_array_equal(row, np.broadcast_to(wanted, row.shape))
