"""From a folder on disk to a data set that is ready to be batched."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medistill.data.dataset import Dataset
from medistill.data.entries import Entry
from medistill.data.findings import Finding, find_traps
from medistill.data.layouts.base import SPLITS, Layout, Sample
from medistill.data.splits import SplitRules, how, save_splits, split_as_saved
from medistill.data.store import Store, build_store
from medistill.errors import UserError
from medistill.types import Task

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Opened:
    """A root as it was found: what training takes, and what a person should know of it.

    Args:
        dataset: The images with their targets and splits.
        samples: One per row of the store, in its order.
        findings: What would spoil a result, errors first.
        layout: What read the root; it reads an image again at its full size.
        how: In words, which splits are official and how the others were cut.
    """

    dataset: Dataset
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    layout: Layout
    how: str

    @property
    def name(self) -> str:
        """Of its task."""
        return self.dataset.task.name

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What decoding found, one per row of the store."""
        return self.dataset.store.entries

    @property
    def digests(self) -> list[str]:
        """Digest of each row's pixels: how a run names an image."""
        return [entry.digest for entry in self.entries]

    def within(self, region: str | None) -> "Opened":
        """The same with a region of the body, where one is known."""
        if region is None:
            return self
        task = replace(self.dataset.task, region=region)
        return replace(self, dataset=replace(self.dataset, task=task))

    def seen(self, parts: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Digest and thumbnail of every image of some splits; a blank one is nobody's."""
        for part in parts:
            for row in self.dataset.splits.get(part, ()):
                entry = self.entries[row]
                if not entry.blank:
                    yield entry.digest, f"{entry.thumbnail:x}"

    def save_splits(self, path: Path) -> None:
        """Write which images stand in which split, for a resume and for whoever comes after."""
        dataset = self.dataset
        parts = {name: rows.tolist() for name, rows in dataset.splits.items()}
        save_splits(path, parts, self._used(), task=dataset.task.name, how=self.how)

    def _used(self) -> list[str]:
        return _digests_of(self.dataset.store, _repeated(self.samples))


def open_dataset(
    name: str,
    layout: Layout,
    samples: Sequence[Sample],
    *,
    size: int,
    rules: SplitRules,
    folder: Path,
    saved_splits: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Opened:
    """Decode a root once, split it, and look for traps.

    A file that cannot be read, and a row that repeats an earlier one, stand in no split.

    Args:
        name: What the task is called.
        layout: What reads the images.
        samples: What to read.
        size: Side of the stored images in pixels.
        rules: How to split what has no official split.
        folder: Where decoded stores are kept.
        saved_splits: Splits of an earlier run, used again instead of new ones.
        on_progress: Called with images done and images in all.
    """
    store = build_store(
        layout, samples, size=size, folder=folder, skip_unreadable=True, on_progress=on_progress
    )
    digests = _digests_of(store, _repeated(samples))
    if not any(digests):
        raise UserError(f"{name}: none of the {len(samples)} images could be read.")
    parts = split_as_saved(saved_splits, samples, digests, rules, task=name)
    task = _task(name, layout, len(samples))
    dataset = Dataset(
        task=task,
        store=store,
        targets=_targets(samples, task.classes),
        splits={part: np.array(rows, dtype=np.int64) for part, rows in parts.items()},
        patients=tuple(sample.patient for sample in samples),
    )
    # What a fraction leaves out can leak nowhere.
    found = find_traps(samples, store.entries, {name: parts[name] for name in SPLITS})
    return Opened(dataset, tuple(samples), tuple(found), layout, how(samples, rules))


def _task(name: str, layout: Layout, samples: int) -> Task:
    classes = layout.classes()
    return Task(name, "classification" if classes else "unlabelled", classes, samples)


def _targets(samples: Sequence[Sample], classes: tuple[str, ...]) -> NDArray[np.int64]:
    places = {label: place for place, label in enumerate(classes)}
    return np.array([places.get(sample.label or "", -1) for sample in samples], dtype=np.int64)


def _repeated(samples: Sequence[Sample]) -> set[int]:
    """Rows that list a file again; the first of them stays."""
    seen: set[str] = set()
    repeated = set()
    for row, sample in enumerate(samples):
        if sample.source in seen:
            repeated.add(row)
        seen.add(sample.source)
    return repeated


def _digests_of(store: Store, left_out: set[int]) -> list[str]:
    """Digest of each row; empty for a row that stands in no split."""
    return ["" if row in left_out else e.digest for row, e in enumerate(store.entries)]
