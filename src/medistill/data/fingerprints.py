"""What a file holds, as a digest; asked again, an unchanged file is not read again."""

import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest, sha256
from pathlib import Path

from medistill.data.ahead import cores

UNREADABLE = "unreadable: "
"""Begins what stands in the place of the digest of a file that cannot be opened."""

_SETTLED_SECONDS = 5
_Known = dict[str, list[int | str]]


def fingerprints(paths: Iterable[Path], folder: Path) -> dict[Path, str]:
    """The sha256 of each file.

    A small index in `folder` remembers size, time of change and digest. A file that changed
    moments ago is not remembered, because its next change may bear the same time.

    Args:
        paths: Files to look at; the same file may come many times.
        folder: Where the index is kept.
    """
    wanted = sorted(set(paths))
    index = folder / f"files-{_name_of(wanted)}.json"
    known = _read(index)
    with ThreadPoolExecutor(cores()) as pool:
        rows = dict(zip(wanted, pool.map(lambda path: _row(path, known), wanted), strict=True))
    horizon = time.time_ns() - _SETTLED_SECONDS * 10**9
    settled = {str(p): row for p, row in rows.items() if row[0] != -1 and int(row[1]) < horizon}
    if settled != known:
        _write(index, settled)
    return {path: str(row[2]) for path, row in rows.items()}


def _row(path: Path, known: _Known) -> list[int | str]:
    try:
        status = path.stat()
        row = known.get(str(path))
        if row is not None and row[:2] == [status.st_size, status.st_mtime_ns]:
            return row
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return [-1, 0, UNREADABLE + (error.strerror or type(error).__name__)]
    return [status.st_size, status.st_mtime_ns, digest]


def _name_of(paths: list[Path]) -> str:
    # One index for one listing, so that no index grows with files that are long gone.
    return sha256("\n".join(map(str, paths)).encode()).hexdigest()[:16]


def _read(index: Path) -> _Known:
    try:
        known: _Known = json.loads(index.read_text())
    except (OSError, ValueError):
        return {}  # a lost index costs time alone
    return known


def _write(index: Path, known: _Known) -> None:
    temporary = index.with_suffix(f".{os.getpid()}")
    try:
        temporary.write_text(json.dumps(known))
        temporary.replace(index)
    except OSError:
        temporary.unlink(missing_ok=True)
