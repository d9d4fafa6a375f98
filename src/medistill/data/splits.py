"""Who is trained on, who chooses, who is tested: decided once, the same on every machine."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from medistill.data.layouts.base import SPLITS, Sample
from medistill.errors import UserError

Splits = dict[str, list[int]]
LEFT_OUT = "left_out"  # training images that a run with a fraction of them does not see


@dataclass(frozen=True)
class SplitRules:
    """How to split what has no official split.

    Args:
        seed: Another seed gives other splits; it is not the seed of the training.
        test: Share of all images, where no test split is given.
        validation: Share of the training images, where no validation split is given.
        fraction: Share of what is then left to train on; validation and test stay whole.
    """

    seed: int = 0
    test: float = 0.2
    validation: float = 0.15
    fraction: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise UserError(f"data.fraction is {self.fraction}; it is above 0 and at most 1")
        for name in ("test", "validation"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise UserError(f"data.splits.{name} is {share}; a share is at least 0, below 1")

    def share(self, name: str) -> float:
        """The share that a split is cut with."""
        return self.test if name == "test" else self.validation


def split(samples: Sequence[Sample], digests: Sequence[str], rules: SplitRules) -> Splits:
    """Positions of the samples in `train`, `validation` and `test`.

    Official splits are kept; images without one count as training images. A missing test split,
    then a missing validation split, is cut out of training, class by class. What we cut shares no
    patient and no identical image with another split, so each class's share is met within one
    group's size; a class of at least two groups is in the cut. The cut depends on the seed and the
    images alone, not on names or the order on disk.

    Of a fraction the rest of training stands in `left_out`. It is taken class by class and by whole
    groups too, and the smaller of two fractions is part of the larger.

    Args:
        samples: With label, official split and patient where known.
        digests: Of each sample's pixels; an empty one (unreadable) is in no split.
        rules: Seed and shares.
    """
    parts: Splits = {name: [] for name in SPLITS}
    for i, (sample, digest) in enumerate(zip(samples, digests, strict=True)):
        if digest:
            parts[sample.split or "train"].append(i)
    groups = _groups(samples, digests)
    # Test before validation: the share of validation is one of what training keeps.
    for name in _missing(samples):
        cut = set(_cut(parts["train"], groups, samples, digests, rules, name))
        parts[name] = sorted(cut)
        parts["train"] = [i for i in parts["train"] if i not in cut]
    if rules.fraction < 1:
        kept = set(_kept(parts["train"], groups, samples, digests, rules))
        parts[LEFT_OUT] = [i for i in parts["train"] if i not in kept]
        parts["train"] = sorted(kept)
    return parts


def how(samples: Sequence[Sample], rules: SplitRules) -> str:
    """In words for a report: which splits are official, and how the others were cut."""
    cut = _missing(samples)
    words = [f"{name}: official" for name in SPLITS if any(s.split == name for s in samples)]
    words += [f"{name}: {rules.share(name):.0%} cut out of train" for name in cut]
    if cut:
        patients = "whole patients, " if any(sample.patient for sample in samples) else ""
        words.append(f"by class, {patients}identical images together, seed {rules.seed}")
    if rules.fraction < 1:
        words.append(f"{100 * rules.fraction:g}% of train used, seed {rules.seed}")
    return "; ".join(words)


def save_splits(
    path: Path,
    splits: Mapping[str, Iterable[int]],
    digests: Sequence[str],
    *,
    task: str = "all",
    how: str = "",
) -> None:
    """Write the splits of one task by pixel digest, without names of files or patients.

    Args:
        path: A JSON file; other tasks in it are kept.
        splits: Positions by split.
        digests: Of each sample's pixels.
        task: Whose splits these are.
        how: How they came about, for the reader of the file.
    """
    where = {int(i): name for name, rows in splits.items() for i in rows}
    images = defaultdict(list)
    for i in sorted(where):
        images[digests[i]].append(where[i])
    tasks = _read(path) if path.exists() else {}
    tasks[task] = {"how": how, "images": dict(sorted(images.items()))}
    # Renamed when whole: who is killed while writing leaves the old file.
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(tasks, indent=1), encoding="utf-8")
    part.replace(path)


def load_splits(path: Path, digests: Sequence[str], *, task: str = "all") -> Splits:
    """The splits that `save_splits` wrote, as positions in the data as it lies there now.

    Raises:
        UserError: The file or the task is missing, or the data changed since.
    """
    # An image that is there twice takes its splits in the order in which they were saved.
    left = _saved(path, task)
    _must_be_unchanged(path, left, digests)
    parts: Splits = {name: [] for name in SPLITS}
    for i, digest in enumerate(digests):
        if digest:
            parts.setdefault(left[digest].pop(0), []).append(i)
    return parts


def split_as_saved(
    path: Path | None,
    samples: Sequence[Sample],
    digests: Sequence[str],
    rules: SplitRules,
    *,
    task: str,
) -> Splits:
    """The splits of an earlier run where it saved some, else new ones by the rules."""
    if path is None:
        return split(samples, digests, rules)
    return load_splits(path, digests, task=task)


def _missing(samples: Sequence[Sample]) -> list[str]:
    given = {sample.split for sample in samples}
    return [name for name in ("test", "validation") if name not in given]


def _groups(samples: Sequence[Sample], digests: Sequence[str]) -> list[list[int]]:
    """Samples that share a patient or an image, directly or through others, in one group."""
    parent = list(range(len(samples)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, (sample, digest) in enumerate(zip(samples, digests, strict=True)):
        keys = (("image", digest), ("patient", sample.patient or ""))
        for key in (key for key in keys if digest and key[1]):
            parent[root(i)] = root(first.setdefault(key, i))
    groups = defaultdict(list)
    for i in range(len(samples)):
        groups[root(i)].append(i)
    return list(groups.values())


def _cut(
    pool: list[int],
    groups: list[list[int]],
    samples: Sequence[Sample],
    digests: Sequence[str],
    rules: SplitRules,
    name: str,
) -> list[int]:
    free = set(pool)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups:
        # A group that also stands in another split stays in training: no leak of our making.
        if free.issuperset(group):
            strata[_label(samples, group)].append(group)
    chosen = []
    for stratum in strata.values():
        ordered = sorted(stratum, key=lambda group: _order(rules.seed, name, digests, group))
        chosen += _choose(ordered, rules.share(name))
    return chosen


def _kept(
    train: list[int],
    groups: list[list[int]],
    samples: Sequence[Sample],
    digests: Sequence[str],
    rules: SplitRules,
) -> list[int]:
    """The first groups of each class, in an order of their own: as near to the fraction as can be.

    A longer beginning holds a shorter one, which `_choose` with its skipping does not promise.
    """
    inside = set(train)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups:
        if own := [i for i in group if i in inside]:
            strata[_label(samples, own)].append(own)
    kept: list[int] = []
    for stratum in strata.values():
        ordered = sorted(stratum, key=lambda group: _order(rules.seed, LEFT_OUT, digests, group))
        wanted = rules.fraction * sum(map(len, ordered))
        counts = list(accumulate(map(len, ordered)))
        nearest = min(range(len(counts)), key=lambda place: abs(counts[place] - wanted))
        kept += chain.from_iterable(ordered[: nearest + 1])
    return kept


def _label(samples: Sequence[Sample], group: list[int]) -> str:
    counts = Counter(samples[i].label or "" for i in group)
    return min(counts, key=lambda label: (-counts[label], label))


def _order(seed: int, name: str, digests: Sequence[str], group: list[int]) -> str:
    # A hash, not a random generator: one image more or less leaves the order of the others alone.
    return sha256(f"{seed}/{name}/{min(digests[i] for i in group)}".encode()).hexdigest()


def _choose(groups: list[list[int]], share: float) -> list[int]:
    """Groups in turn, each if it brings the count nearer to the share; one group at least stays."""
    wanted = share * sum(map(len, groups))
    chosen: list[list[int]] = []
    count = 0
    for group in groups:
        nearer = abs(count + len(group) - wanted) < abs(count - wanted)
        if nearer and len(chosen) < len(groups) - 1:
            chosen.append(group)
            count += len(group)
    # All groups are larger than twice the share, yet a class that is never tested proves nothing.
    if not chosen and len(groups) > 1 and share > 0:
        chosen.append(min(groups, key=len))
    return [i for group in chosen for i in group]


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read as saved splits ({error})") from error


def _saved(path: Path, task: str) -> dict[str, list[str]]:
    """Splits of one task, by digest."""
    tasks = _read(path)
    if task not in tasks:
        raise UserError(f"{path}: no splits of task {task!r}, only of {', '.join(tasks) or 'none'}")
    return {digest: list(names) for digest, names in tasks[task]["images"].items()}


def _must_be_unchanged(path: Path, saved: Mapping[str, list[str]], digests: Sequence[str]) -> None:
    now = Counter(digest for digest in digests if digest)
    then = Counter({digest: len(names) for digest, names in saved.items()})
    appeared, vanished = (now - then).total(), (then - now).total()
    if appeared or vanished:
        raise UserError(
            f"{path}: the data changed since these splits were saved ({appeared} images appeared,"
            f" {vanished} vanished). Bring the data back, or start a new run in another folder"
        )
