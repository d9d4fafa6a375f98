"""Volumes of a root, prepared once and memory-mapped ever after.

Each volume has files of its own, written whole or not at all: who is killed goes on where he was.
"""

import errno
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from medistill.data.ahead import ahead, cores
from medistill.data.fingerprints import UNREADABLE, fingerprints
from medistill.data.volumes.facts import Facts, describe, read_marked
from medistill.data.volumes.layouts.base import Case, VolumeLayout
from medistill.data.volumes.marking import prepared_label, some_places
from medistill.errors import Failure, UserError
from medistill.scans import Preparation, Trace, prepare

OnProgress = Callable[[int, int], None]
Result = TypeVar("Result")

_VERSION = 3  # another number whenever reading or preparing changes what is stored
_IMAGE, _LABEL, _PLACES, _FACTS, _TRACE = (
    "image.npy",
    "label.npy",
    "places.npy",
    "facts-2.json",  # another number where facts tell more: volumes stay, headers are read again
    "json",
)
_DAY_SECONDS = 86400
_IMAGE_BYTES = 2  # a voxel


class StoredVolumes:
    """Prepared volumes in a folder, memory-mapped when they are asked for.

    Args:
        folder: Where they lie.
        keys: Name of each row's files; empty for a row that was not prepared.
    """

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self._folder = folder
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def image(self, row: int) -> NDArray[Any]:
        """(x, y, z) in 16 bits."""
        return self._array(row, _IMAGE)

    def label(self, row: int) -> NDArray[np.uint8]:
        """(x, y, z), 0 for background and 1 + the place of a class; or (classes, x, y, z)."""
        return self._array(row, _LABEL)

    def places(self, row: int) -> NDArray[np.int32]:
        """Some voxels of each class that is there, (voxels, 4): place of the class, x, y, z."""
        return self._array(row, _PLACES)

    def _array(self, row: int, name: str) -> NDArray[Any]:
        # Opened anew each time: a thousand open files are more than a process may have.
        path = self._folder / f"{self._keys[row]}.{name}"
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r")
        except (OSError, EOFError, ValueError) as error:
            raise UserError(
                f"The volume store {self._folder} is damaged ({error}). Delete it; it is built "
                "again."
            ) from error
        return array


def survey(
    layout: VolumeLayout,
    cases: Sequence[Case],
    folder: Path,
    on_progress: OnProgress | None = None,
) -> list[Facts]:
    """What each case holds, read at most once as long as its files stay the same."""
    digests = _file_digests(layout, cases, folder)

    def facts_of(job: tuple[Case, str]) -> Facts:
        case, digest = job
        path = folder / f"{_key(layout, case, digest)}.{_FACTS}"
        known = _read_json(path)
        if known is not None:
            return replace(Facts.from_document(known), source=case.image)
        if digest.startswith(UNREADABLE):
            error = digest.removeprefix(UNREADABLE)
            return Facts(source=case.image, file_digest=digest, error=error)
        facts = describe(layout, case, digest)
        _write_json(path, asdict(facts))
        return facts

    with _explained(folder):
        _clear_dead(folder)
        return _each(facts_of, list(zip(cases, digests, strict=True)), on_progress)


def prepare_all(
    layout: VolumeLayout,
    rows: Mapping[int, tuple[Case, Facts, Preparation]],
    count: int,
    folder: Path,
    on_progress: OnProgress | None = None,
) -> tuple[StoredVolumes, tuple[Trace | None, ...]]:
    """Prepared volumes with their traces: opened where they are there, else made first.

    Args:
        layout: What reads a case.
        rows: What to prepare, and how, by row.
        count: How many rows there are.
        folder: Where they are kept.
        on_progress: Called with volumes done and volumes in all.
    """
    keys = {row: _prepared_key(layout, *what) for row, what in rows.items()}
    # The trace is written last: where it lies, the volume is whole.
    missing = [row for row, key in keys.items() if not (folder / f"{key}.{_TRACE}").exists()]
    _check_room(folder, [rows[row][1:] for row in missing])

    def prepared(row: int) -> Trace:
        known = _read_json(folder / f"{keys[row]}.{_TRACE}")
        if known is not None:
            return Trace.from_document(known)
        case, _, preparation = rows[row]
        return _prepare_one(layout, case, preparation, folder / keys[row])

    with _explained(folder):
        traces = dict(zip(keys, _each(prepared, list(keys), on_progress), strict=True))
    every = range(count)
    volumes = StoredVolumes(folder, [keys.get(row, "") for row in every])
    return volumes, tuple(traces.get(row) for row in every)


def _prepare_one(layout: VolumeLayout, case: Case, preparation: Preparation, stem: Path) -> Trace:
    scan, marked = read_marked(layout, case)
    done = prepare(scan, preparation)
    # 16 bits hold values of mean 0 to a thousandth, and half of the disk.
    if marked is None:
        label = np.zeros(done.image.shape, np.uint8)
    else:
        label = prepared_label(marked, scan, done.trace)
    _write_array(stem.with_name(f"{stem.name}.{_IMAGE}"), done.image.astype(np.float16))
    _write_array(stem.with_name(f"{stem.name}.{_LABEL}"), label)
    _write_array(stem.with_name(f"{stem.name}.{_PLACES}"), some_places(label))
    # Last, for it says that the others are whole.
    _write_json(stem.with_name(f"{stem.name}.{_TRACE}"), done.trace.as_document())
    return done.trace


def _each(
    work: Callable[[Any], Result], jobs: list[Any], on_progress: OnProgress | None
) -> list[Result]:
    done = []
    for result in ahead(work, jobs, threads=cores(), depth=2 * cores()):
        done.append(result)
        if on_progress is not None:
            on_progress(len(done), len(jobs))
    return done


def _file_digests(layout: VolumeLayout, cases: Sequence[Case], folder: Path) -> list[str]:
    files = [
        [path.absolute() for source in (case.image, *case.labels) for path in layout.files(source)]
        for case in cases
    ]
    known = fingerprints((path for own in files for path in own), folder)
    return [_joined(known[path] for path in own) for own in files]


def _joined(digests: Iterable[str]) -> str:
    every = list(digests)
    broken = next((digest for digest in every if digest.startswith(UNREADABLE)), None)
    return broken or sha256("/".join(every).encode()).hexdigest()


def _key(layout: VolumeLayout, case: Case, digest: str) -> str:
    series = case.image.partition("#")[2]
    # By content and meaning, not by path: moved data are found again, and renamed classes are not.
    told = (_VERSION, digest, series, layout.classes(), layout.values_in(case), case.classes)
    return sha256(json.dumps(told).encode()).hexdigest()[:32]


def _prepared_key(layout: VolumeLayout, case: Case, facts: Facts, preparation: Preparation) -> str:
    told = (_key(layout, case, facts.file_digest), preparation.as_document())
    return sha256(json.dumps(told).encode()).hexdigest()[:32]


def _check_room(folder: Path, wanted: Iterable[tuple[Facts, Preparation]]) -> None:
    needed = 0.0
    for facts, preparation in wanted:
        own = np.prod(facts.shape) * np.prod(facts.spacing_mm())
        maps = len(facts.voxels) if facts.overlapping else 1
        needed += (_IMAGE_BYTES + maps) * float(own / np.prod(preparation.spacing_mm))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"The volume store needs up to {needed / 1e9:.1f} GB, but {folder} has "
            f"{free / 1e9:.1f} GB free. Choose another folder as data.store, or a larger "
            "data.spacing_mm."
        )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """A full disk in one line; what is prepared already stays."""
    try:
        yield
    except OSError as error:
        # numpy tells a short write without its reason.
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "requested and" in str(error)
        if not full:
            raise Failure(f"The volume store {folder} could not be written: {error}") from error
        raise Failure(
            f"The disk was full before the volume store {folder} was written; what is whole was "
            "kept. Make room, or choose another folder as data.store."
        ) from error


def _clear_dead(folder: Path) -> None:
    """Drafts of processes that were killed."""
    for draft in folder.glob(".*.npy"):
        if time.time() - draft.stat().st_mtime > _DAY_SECONDS:
            draft.unlink(missing_ok=True)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # what is lost or damaged is made again


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A file to write, which takes its place when it is whole."""
    # Not forced onto the disk as results are, which took half of the time for small volumes: what
    # a power cut takes here is made again.
    draft = path.with_name(f".{uuid4().hex}-{path.name}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    with _draft(path) as draft:
        draft.write_text(json.dumps(document), encoding="utf-8")


def _write_array(path: Path, array: NDArray[Any]) -> None:
    with _draft(path) as draft:
        np.save(draft, array)
