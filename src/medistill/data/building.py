"""Decode the images of a root into a new store, so that it appears whole or not at all."""

import errno
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from medistill.data.ahead import ahead, cores
from medistill.data.entries import Entry, broken, describe
from medistill.data.fingerprints import UNREADABLE
from medistill.data.layouts.base import Layout, Sample
from medistill.data.picture import Unreadable
from medistill.errors import Failure, UserError
from medistill.resampling import resize

OnProgress = Callable[[int, int], None]
IMAGES, ENTRIES = "images.npy", "entries.json"
_PREFIX = ".building-"
_DAY_SECONDS = 86400


def build(
    place: Path,
    layout: Layout,
    samples: Sequence[Sample],
    digests: Sequence[str],
    *,
    size: int,
    on_progress: OnProgress | None,
) -> None:
    """Make the folder `place` with the resized images and their entries.

    It is written beside its place and renamed at the end: who is killed leaves nothing there, and
    of two who build at once the first one's is kept.

    Args:
        place: The folder to make.
        layout: What reads an image.
        samples: What to read, in the order of the rows.
        digests: Of the file of each sample.
        size: Side of the stored images in pixels.
        on_progress: Called with images done and images in all.
    """
    _clear_dead(place.parent)
    _check_room(place.parent, len(samples) * size * size)
    try:
        with _workshop(place.parent) as workshop:
            jobs = list(zip(samples, digests, strict=True))
            with _Rows(workshop / IMAGES, len(samples), size) as rows:
                entries = _decode_all(layout, jobs, rows, on_progress)
            (workshop / ENTRIES).write_text(json.dumps([asdict(entry) for entry in entries]))
            _publish(workshop, place)
    except OSError as error:
        raise Failure(_explained(error, place.parent)) from error


def _decode_all(
    layout: Layout,
    jobs: list[tuple[Sample, str]],
    rows: "_Rows",
    on_progress: OnProgress | None,
) -> list[Entry]:
    entries = []
    decoded = ahead(
        lambda job: _decoded(layout, *job, rows.size),
        jobs,
        threads=cores(),
        depth=4 * cores(),
    )
    for entry, pixels in decoded:
        rows.append(pixels)
        entries.append(entry)
        if on_progress is not None:
            on_progress(len(entries), len(jobs))
    return entries


def _decoded(
    layout: Layout, sample: Sample, digest: str, size: int
) -> tuple[Entry, NDArray[np.uint8]]:
    black = np.zeros((size, size, 1), np.uint8)
    if digest.startswith(UNREADABLE):
        return broken(sample.source, digest, digest.removeprefix(UNREADABLE)), black
    try:
        picture = layout.read(sample)
    except Unreadable as error:
        # Without the root: the store stays right when the data moves.
        reason = str(error).removeprefix(f"{layout.root / sample.source}: ")
        return broken(sample.source, digest, reason), black
    return describe(picture, sample.source, digest), shrink(picture.pixels, size)


def shrink(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """8-bit pixels (height, width, channels) at `size` x `size`; halves go to the even value."""
    planes = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))
    smaller = resize(planes, size).round().to(torch.uint8)
    return np.ascontiguousarray(smaller.numpy().transpose(1, 2, 0))


class _Rows:
    """Images of one size, written one after the other; grey until one with colour comes.

    Written as a file and not through a memory map: there a full disk would kill the process.
    """

    def __init__(self, path: Path, count: int, size: int) -> None:
        self.size = size
        self._path = path
        self._count = count
        self._written = 0
        self._begin(1)

    def __enter__(self) -> "_Rows":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()

    def append(self, pixels: NDArray[np.uint8]) -> None:
        if pixels.shape[2] > self._channels:
            self._widen()
        shape = (self.size, self.size, self._channels)
        self._file.write(np.broadcast_to(pixels, shape).tobytes())
        self._written += 1

    def _begin(self, channels: int) -> None:
        self._channels = channels
        self._file = self._path.open("wb")
        shape = (self._count, self.size, self.size, channels)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def _widen(self) -> None:
        start, area = self._file.tell() - self._written * self.size**2, self.size**2
        self._file.close()
        grey = self._path.replace(self._path.with_suffix(".grey"))
        self._begin(3)
        with grey.open("rb") as file:
            file.seek(start)
            for _ in range(self._written):
                row = np.frombuffer(file.read(area), np.uint8)
                self._file.write(np.repeat(row, 3).tobytes())
        grey.unlink()


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    owner, host = f"{_PREFIX}{os.getpid()}-", f"@{platform.node()}"
    workshop = Path(mkdtemp(prefix=owner, suffix=host, dir=folder))
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _publish(workshop: Path, place: Path) -> None:
    try:
        workshop.rename(place)
    except OSError:
        if not place.is_dir():  # else another process was faster, with the same content
            raise


def _clear_dead(folder: Path) -> None:
    for left in folder.glob(f"{_PREFIX}*"):
        owner, _, host = left.name.removeprefix(_PREFIX).partition("@")
        here = host == platform.node()
        if _age_seconds(left) > _DAY_SECONDS or (here and not _alive(int(owner.split("-")[0]))):
            shutil.rmtree(left, ignore_errors=True)


def _age_seconds(folder: Path) -> float:
    try:
        return time.time() - max(path.stat().st_mtime for path in [folder, *folder.iterdir()])
    except FileNotFoundError:
        return 0.0  # just published


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _check_room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise UserError(
            f"The image store needs {wanted / 1e9:.1f} GB, but {folder} has {free / 1e9:.1f} GB "
            "free. Choose a smaller data.size, or another folder as data.store."
        )


def _explained(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk was full before the image store in {folder} was written; nothing of it was "
            "kept. Choose a smaller data.size, or another folder as data.store."
        )
    return f"The image store in {folder} could not be written: {error}"
