"""Images of a root, decoded once and memory-mapped ever after."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from medistill.data.building import ENTRIES, IMAGES, OnProgress, build
from medistill.data.entries import Entry
from medistill.data.fingerprints import fingerprints
from medistill.data.layouts.base import Layout, Sample
from medistill.errors import UserError

_VERSION = 1  # another number whenever decoding or resizing changes what a store holds


@dataclass(frozen=True)
class Store:
    """Every image of a root at one size.

    Args:
        images: (images, size, size, channels) in 8 bits; one channel when all of them are grey.
            The row of an unreadable file is black.
        entries: What decoding found, one per row.
        key: Says which files, with which content, at which size.
    """

    images: np.memmap
    entries: tuple[Entry, ...]
    key: str


def build_store(
    layout: Layout,
    samples: Sequence[Sample],
    *,
    size: int,
    folder: Path,
    skip_unreadable: bool = False,
    on_progress: OnProgress | None = None,
) -> Store:
    """The store of these samples: opened when it is there, else built first.

    Two processes may ask for the same store at once, and one may be killed at any moment.

    Args:
        layout: What reads an image.
        samples: What to read, in the order of the rows.
        size: Side of the stored images in pixels.
        folder: Where stores are kept.
        skip_unreadable: Whether a file that cannot be read is an error in its entry alone.
        on_progress: Called with images done and images in all, while it builds.

    Raises:
        UserError: A file cannot be read, there are no samples, or the disk is full.
    """
    if not samples:
        raise UserError(f"{layout.root}: no images to store.")
    folder.mkdir(parents=True, exist_ok=True)
    digests = _digests(layout, samples, folder)
    key = _key(samples, digests, size)
    place = folder / key[:32]
    if not place.is_dir():
        build(place, layout, samples, digests, size=size, on_progress=on_progress)
    store = _opened(place, key)
    if not skip_unreadable:
        _refuse_unreadable(store.entries)
    return store


def _digests(layout: Layout, samples: Sequence[Sample], folder: Path) -> list[str]:
    parts = [_file_and_place(layout.root, sample.source) for sample in samples]
    known = fingerprints((file for file, _ in parts), folder)
    return [known[file] + place for file, place in parts]


def _file_and_place(root: Path, source: str) -> tuple[Path, str]:
    """The file that holds a sample, and where in it: `#train/12` in an array file, else nothing."""
    stem, inside, place = source.partition(".npz#")
    file = root if root.is_file() else root / (stem + ".npz" if inside else source)
    return file.absolute(), inside.removeprefix(".npz") + place


def _key(samples: Sequence[Sample], digests: Sequence[str], size: int) -> str:
    rows = [(sample.source, digest) for sample, digest in zip(samples, digests, strict=True)]
    return sha256(json.dumps([_VERSION, size, rows]).encode()).hexdigest()


def _opened(place: Path, key: str) -> Store:
    try:
        images = np.load(place / IMAGES, mmap_mode="r")
        entries = tuple(Entry(**row) for row in json.loads((place / ENTRIES).read_text()))
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise UserError(
            f"The image store {place} is damaged ({error}). Delete it; it is built again."
        ) from error
    return Store(images, entries, key)


def _refuse_unreadable(entries: Sequence[Entry]) -> None:
    broken = [entry for entry in entries if entry.error is not None]
    if broken:
        named = "; ".join(f"{entry.source}: {entry.error}" for entry in broken[:3])
        raise UserError(
            f"{len(broken)} of {len(entries)} images cannot be read ({named}"
            f"{'; ...' if len(broken) > 3 else ''}). Mend or remove them, or leave them out with "
            "data.skip_unreadable: true."
        )
