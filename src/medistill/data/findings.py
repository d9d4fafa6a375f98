"""What would spoil a result before the first step of training, looked for and named."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import median
from typing import Literal

from medistill.data.entries import Entry
from medistill.data.layouts.base import SPLITS, Sample
from medistill.data.near_copies import near_copies

Severity = Literal["error", "warning", "note"]
_SEVERITIES = ("error", "warning", "note")
_IMBALANCED = 3  # times as many images in the largest class as in the smallest


@dataclass(frozen=True)
class Finding:
    """One trap in a data set.

    Args:
        severity: Training refuses an `error`, prints a `warning`, keeps a `note` for the report.
        kind: A word that tests and reports can rely on.
        message: One line for a person.
        items: The images in question; those that belong together stand in one item. Patients
            are not named, but names of files may tell them: items are for the screen alone.
    """

    severity: Severity
    kind: str
    message: str
    items: tuple[str, ...] = ()


def find_traps(
    samples: Sequence[Sample], entries: Sequence[Entry], splits: Mapping[str, Iterable[int]]
) -> list[Finding]:
    """Everything that was found, errors first.

    What two splits share is an error if one of them was cut by us, and a warning if both are
    official. Blank images are named as blank, not as identical.

    Args:
        samples: As the layout listed them.
        entries: One per sample, from decoding.
        splits: Positions of the samples by split; unreadable ones are in none.
    """
    data = _Data(samples, entries, {name: list(map(int, rows)) for name, rows in splits.items()})
    found = [finding for look in _CHECKS for finding in look(data)]
    return sorted(found, key=lambda finding: _SEVERITIES.index(finding.severity))


@dataclass(frozen=True)
class _Data:
    samples: Sequence[Sample]
    entries: Sequence[Entry]
    splits: Mapping[str, list[int]]

    @cached_property
    def where(self) -> dict[int, str]:
        return {i: name for name, rows in self.splits.items() for i in rows}

    @cached_property
    def identical(self) -> list[list[int]]:
        """Positions with the same pixels, repeated rows among them."""
        # All blank images are the same; saying so beside "blank" would only hide real copies.
        return self.groups(lambda i: None if self.entries[i].blank else self.entries[i].digest)

    @cached_property
    def patients(self) -> list[list[int]]:
        return self.groups(lambda i: self.samples[i].patient)

    @cached_property
    def repeated(self) -> list[list[int]]:
        return self.groups(lambda i: self.samples[i].source)

    def groups(self, key: Callable[[int], Hashable]) -> list[list[int]]:
        """Positions that share a key (empty and None are no key), where at least two do."""
        found = defaultdict(list)
        for i in range(len(self.samples)):
            if key(i):
                found[key(i)].append(i)
        return [group for group in found.values() if len(group) > 1]

    def labels(self, group: Iterable[int]) -> set[str]:
        return {label for i in group if (label := self.samples[i].label) is not None}

    def sources(self, group: Iterable[int]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.samples[i].source for i in group))

    def named(self, group: Iterable[int], tag: Callable[[int], str | None]) -> str:
        """The images of a group in one item, each with a word on it."""
        names = (f"{self.samples[i].source} ({tag(i) or '-'})" for i in group)
        return " = ".join(dict.fromkeys(names))

    def split(self, i: int) -> str | None:
        return self.where.get(i)

    def label(self, i: int) -> str | None:
        return self.samples[i].label

    def first_in_splits(self, group: list[int]) -> dict[str, int]:
        """The first position of a group in each split that it reaches."""
        # Reversed, so that the first one is what stays under its split's name.
        first = {self.where[i]: i for i in reversed(group) if i in self.where}
        return {name: first[name] for name in SPLITS if name in first}

    def severity(self, names: Iterable[str]) -> Severity:
        """How bad it is that these splits share something."""
        # Training is what remains, so a leak is made by the split that was cut out of it.
        official = {sample.split for sample in self.samples} | {"train"}
        ours = any(name not in official for name in names)
        return "error" if ours else "warning"


def _unreadable(data: _Data) -> Iterator[Finding]:
    broken = [entry for entry in data.entries if entry.error is not None]
    items = tuple(f"{entry.source}: {entry.error}" for entry in broken)
    if items:
        message = f"files that cannot be read: {len(items)} of {len(data.entries)}"
        yield Finding("error", "unreadable", message, items)


def _across(data: _Data, kind: str, thing: str, groups: list[list[int]]) -> Iterator[Finding]:
    leaks = [first for group in groups if len(first := data.first_in_splits(group)) > 1]
    whose: dict[Severity, str] = {"error": "ours", "warning": "official"}
    for severity in whose:
        these = [first for first in leaks if data.severity(first) == severity]
        if these:
            pairs = Counter(pair for first in these for pair in combinations(first, 2))
            told = ", ".join(f"{one} and {other}: {n}" for (one, other), n in pairs.items())
            message = f"{thing} in more than one split ({whose[severity]}): {len(these)} ({told})"
            items = tuple(data.named(first.values(), data.split) for first in these)
            yield Finding(severity, kind, message, items)


def _identical_across_splits(data: _Data) -> Iterator[Finding]:
    yield from _across(data, "identical_across_splits", "images", data.identical)


def _patients_across_splits(data: _Data) -> Iterator[Finding]:
    yield from _across(data, "patients_across_splits", "patients", data.patients)


def _conflicting_labels(data: _Data) -> Iterator[Finding]:
    groups = [group for group in data.identical if len(data.labels(group)) > 1]
    if groups:
        message = f"images with more than one label: {len(groups)}"
        items = tuple(data.named(group, data.label) for group in groups)
        yield Finding("warning", "conflicting_labels", message, items)


def _repeated_rows(data: _Data) -> Iterator[Finding]:
    if data.repeated:
        rows = sum(map(len, data.repeated))
        message = f"images listed more than once: {len(data.repeated)} ({rows} rows)"
        items = tuple(data.sources(group)[0] for group in data.repeated)
        yield Finding("warning", "repeated_rows", message, items)


def _image_of_several_patients(data: _Data) -> Iterator[Finding]:
    groups = [g for g in data.repeated if len({data.samples[i].patient for i in g} - {None}) > 1]
    if groups:
        message = f"images listed under more than one patient: {len(groups)}"
        items = tuple(data.sources(group)[0] for group in groups)
        yield Finding("warning", "image_of_several_patients", message, items)


def _identical_images(data: _Data) -> Iterator[Finding]:
    sources = [names for group in data.identical if len(names := data.sources(group)) > 1]
    if sources:
        message = f"groups of files with identical images: {len(sources)}"
        yield Finding("warning", "identical_images", message, tuple(map(" = ".join, sources)))


def _patients_with_several_labels(data: _Data) -> Iterator[Finding]:
    groups = [group for group in data.patients if len(data.labels(group)) > 1]
    if groups:
        message = f"patients with images of more than one label: {len(groups)}"
        items = tuple(data.named(group, data.label) for group in groups)
        yield Finding("note", "patients_with_several_labels", message, items)


def _blank(data: _Data) -> Iterator[Finding]:
    items = tuple(entry.source for entry in data.entries if entry.blank)
    if items:
        message = f"blank images (all pixels equal): {len(items)}"
        yield Finding("warning", "blank", message, items)


def _near_copies(data: _Data) -> Iterator[Finding]:
    pairs = near_copies(data.entries, data.splits)
    if pairs:
        message = f"pairs of nearly equal images in different splits: {len(pairs)}"
        items = tuple(data.named(pair, data.split) for pair in pairs)
        yield Finding("warning", "near_copies", message, items)


def _empty_splits(data: _Data) -> Iterator[Finding]:
    for name in (name for name in SPLITS if not data.splits.get(name)):
        severity: Severity = "error" if name == "train" else "warning"
        yield Finding(severity, "empty_split", f"the {name} split is empty")


def _missing_classes(data: _Data) -> Iterator[Finding]:
    classes = sorted(data.labels(range(len(data.samples))))
    for name, rows in data.splits.items():
        missing = [label for label in classes if label not in data.labels(rows)]
        if rows and missing:
            message = f"the {name} split has no image of {', '.join(missing)}"
            yield Finding("warning", "missing_class", message)


def _imbalance(data: _Data) -> Iterator[Finding]:
    counts = Counter(sample.label for sample in data.samples if sample.label is not None)
    if not counts:
        return
    (most, many), (fewest, few) = counts.most_common(1)[0], min(counts.items(), key=lambda c: c[1])
    if many >= _IMBALANCED * few:
        message = f"{many} images of {most}, {few} of {fewest}: consider data.sampling: balanced"
        yield Finding("note", "imbalance", message)


def _unlabelled(data: _Data) -> Iterator[Finding]:
    items = tuple(sample.source for sample in data.samples if sample.label is None)
    if items:
        message = f"images without a label: {len(items)} of {len(data.samples)}"
        yield Finding("note", "unlabelled", message, items)


def _sizes(data: _Data) -> Iterator[Finding]:
    read = [entry for entry in data.entries if entry.error is None]
    if not read:
        return
    counts = ", ".join(f"{name} {len(rows)}" for name, rows in data.splits.items())
    sides = ([e.width for e in read], [e.height for e in read])
    spread = [(min(side), median(side), max(side)) for side in sides]
    smallest, middle, largest = (f"{w:.0f}x{h:.0f}" for w, h in zip(*spread, strict=True))
    colour = sum(entry.channels == 3 for entry in read)
    message = f"{len(read)} images ({counts}), {colour} of them in colour; width x height in pixels"
    yield Finding("note", "sizes", f"{message}: {smallest} to {largest}, median {middle}")


# The order in which a person should hear of them, within one severity.
_CHECKS: tuple[Callable[[_Data], Iterator[Finding]], ...] = (
    _unreadable,
    _identical_across_splits,
    _patients_across_splits,
    _empty_splits,
    _conflicting_labels,
    _repeated_rows,
    _image_of_several_patients,
    _identical_images,
    _blank,
    _missing_classes,
    _near_copies,
    _patients_with_several_labels,
    _imbalance,
    _unlabelled,
    _sizes,
)
