"""What a file holds, as a digest."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from medistill.data.fingerprints import UNREADABLE, fingerprints

LONG_AGO = 1_000_000_000 * 10**9


def _file(path: Path, content: bytes, time_ns: int = LONG_AGO) -> Path:
    path.write_bytes(content)
    os.utime(path, ns=(time_ns, time_ns))
    return path


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


def test_a_fingerprint_is_the_sha256_of_the_bytes(tmp_path: Path, index: Path) -> None:
    path = _file(tmp_path / "a", b"lung")
    assert fingerprints([path, path], index) == {path: sha256(b"lung").hexdigest()}


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, index: Path) -> None:
    path = _file(tmp_path / "a", b"lung")
    first = fingerprints([path], index)
    _file(path, b"bone")  # same size, same time: only reading would tell
    assert fingerprints([path], index) == first


@pytest.mark.parametrize(("content", "time"), [(b"longer", LONG_AGO), (b"bone", LONG_AGO + 1)])
def test_another_size_or_time_is_noticed(
    tmp_path: Path, index: Path, content: bytes, time: int
) -> None:
    path = _file(tmp_path / "a", b"lung")
    fingerprints([path], index)
    _file(path, content, time)
    assert fingerprints([path], index) == {path: sha256(content).hexdigest()}


def test_a_file_that_changed_moments_ago_is_read_again(tmp_path: Path, index: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"lung")
    now = path.stat().st_mtime_ns
    fingerprints([path], index)
    _file(path, b"bone", now)
    assert fingerprints([path], index) == {path: sha256(b"bone").hexdigest()}


def test_a_missing_file_says_why_and_is_found_when_it_comes(tmp_path: Path, index: Path) -> None:
    path = tmp_path / "a"
    assert fingerprints([path], index)[path] == f"{UNREADABLE}No such file or directory"
    _file(path, b"lung")
    assert fingerprints([path], index) == {path: sha256(b"lung").hexdigest()}


def test_a_broken_index_costs_time_alone(tmp_path: Path, index: Path) -> None:
    path = _file(tmp_path / "a", b"lung")
    wanted = fingerprints([path], index)
    for left in index.iterdir():
        left.write_text("{half")
    assert fingerprints([path], index) == wanted


def test_an_index_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    path = _file(tmp_path / "a", b"lung")
    assert fingerprints([path], tmp_path / "absent") == {path: sha256(b"lung").hexdigest()}
