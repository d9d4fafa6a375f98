"""From a folder of scans to a data set that is ready to be cut into patches."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from medistill.data.findings import Finding
from medistill.data.layouts.base import SPLITS
from medistill.data.splits import SplitRules, Splits, how, save_splits, split_as_saved
from medistill.data.volumes.dataset import VolumeDataset
from medistill.data.volumes.facts import Facts
from medistill.data.volumes.findings import find_volume_traps
from medistill.data.volumes.layouts.base import Case, VolumeLayout
from medistill.data.volumes.store import OnProgress, prepare_all, survey
from medistill.data.volumes.turning import common_frame
from medistill.errors import UserError
from medistill.grids import Triple
from medistill.modalities import Modality, modality_of
from medistill.scans import Preparation
from medistill.types import Task


@dataclass(frozen=True)
class OpenedVolumes:
    """A root of volumes as it was found: what training takes, and what a person should know of it.

    Args:
        dataset: The prepared volumes with their splits.
        cases: One per row, in its order.
        facts: What reading found, one per row.
        findings: What would spoil a result, errors first.
        layout: What read the root; it reads a scan again as it was.
        how: In words, which splits are official and how the others were cut.
    """

    dataset: VolumeDataset
    cases: tuple[Case, ...]
    facts: tuple[Facts, ...]
    findings: tuple[Finding, ...]
    layout: VolumeLayout
    how: str

    @property
    def name(self) -> str:
        """Of its task."""
        return self.dataset.task.name

    @property
    def digests(self) -> list[str]:
        """Digest of each row's voxels: how a run names a volume."""
        return [facts.digest for facts in self.facts]

    def modality(self, row: int) -> Modality:
        """How a row's intensities were treated: as its case or its file says, else as the set's."""
        return _for(self.cases[row], self.facts[row], self.dataset.preparation).modality

    @property
    def used(self) -> list[int]:
        """Rows that stand in some split."""
        return sorted(row for rows in self.dataset.splits.values() for row in rows.tolist())

    def within(self, region: str | None) -> "OpenedVolumes":
        """The same with a region of the body, where the recipe knows better than the cases."""
        if region is None:
            return self
        task = replace(self.dataset.task, region=region)
        return replace(self, dataset=replace(self.dataset, task=task))

    def seen(self, parts: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Digest of every volume of some splits, which is its thumbnail too."""
        for part in parts:
            for row in self.dataset.splits.get(part, ()):
                if not self.facts[row].blank:
                    yield self.facts[row].digest, self.facts[row].digest

    def save_splits(self, path: Path) -> None:
        """Write which volumes stand in which split, for a resume and for whoever comes after."""
        dataset = self.dataset
        parts = {name: rows.tolist() for name, rows in dataset.splits.items()}
        save_splits(path, parts, self.digests, task=dataset.task.name, how=self.how)


def open_volumes(
    name: str,
    layout: VolumeLayout,
    cases: Sequence[Case],
    *,
    preparation: Preparation | Triple | None,
    rules: SplitRules,
    folder: Path,
    saved_splits: Path | None = None,
    on_progress: OnProgress | None = None,
) -> OpenedVolumes:
    """Read a root once, split it, look for traps, and prepare what stands in a split.

    A scan that cannot be read, one without a label where others have one, and a row that repeats an
    earlier one stand in no split.

    Args:
        name: What the task is called.
        layout: What reads the scans.
        cases: What to read.
        preparation: What is done to every scan; its modality counts where a case says none. None
            for what suits the training cases; so do three distances in mm, to the right, to the
            front and up, whose medians are taken otherwise.
        rules: How to split what has no official split.
        folder: Where prepared volumes are kept.
        saved_splits: Splits of an earlier run, used again instead of new ones.
        on_progress: Called with volumes done and volumes in all.
    """
    place = folder / "volumes"
    place.mkdir(parents=True, exist_ok=True)
    facts = survey(layout, cases, place, _half(on_progress, 0))
    digests = _digests(cases, facts)
    _refuse_nothing(name, digests, facts)
    samples = [case.sample for case in cases]
    parts = split_as_saved(saved_splits, samples, digests, rules, task=name)
    if not isinstance(preparation, Preparation):
        preparation = _suitable(cases, facts, parts, preparation)
    ways = {
        row: (cases[row], facts[row], _for(cases[row], facts[row], preparation))
        for rows in parts.values()
        for row in rows
    }
    volumes, traces = prepare_all(layout, ways, len(cases), place, _half(on_progress, 1))
    dataset = VolumeDataset(
        task=_task(name, layout, cases, facts),
        volumes=volumes,
        splits={part: np.array(rows, dtype=np.int64) for part, rows in parts.items()},
        patients=tuple(case.patient for case in cases),
        preparation=preparation,
        traces=traces,
        known=_known(layout, cases),
        sources=tuple(case.dataset for case in cases),
    )
    # What a fraction leaves out can leak nowhere.
    used = {part: parts[part] for part in SPLITS}
    found = find_volume_traps(cases, facts, used, layout.classes(), preparation)
    return OpenedVolumes(
        dataset, tuple(cases), tuple(facts), tuple(found), layout, how(samples, rules)
    )


def _refuse_nothing(name: str, digests: Sequence[str], facts: Sequence[Facts]) -> None:
    """Raises a `UserError` where no volume can stand in any split."""
    if not any(digests):
        told = next((f"{f.source}: {f.error}" for f in facts if f.error), "all repeat each other")
        raise UserError(f"{name}: none of the {len(facts)} volumes could be read ({told}).")


def _digests(cases: Sequence[Case], facts: Sequence[Facts]) -> list[str]:
    """Digest of each row; empty for a row that stands in no split."""
    labelled = _any_labelled(facts)
    seen: set[str] = set()
    digests = []
    for case, one in zip(cases, facts, strict=True):
        # Without any label the root still serves to imitate a teacher.
        usable = one.labelled if labelled else True
        digests.append(one.digest if usable and case.image not in seen else "")
        seen.add(case.image)
    return digests


def _suitable(
    cases: Sequence[Case], facts: Sequence[Facts], parts: Splits, spacing_mm: Triple | None
) -> Preparation:
    """For the training cases: by default their median spacing, as exact as a header can hold.

    Who says the spacing says it along the axes of the body, which networks that were trained
    elsewhere expect: then slices between them stay there.
    """
    # Validation and test decide nothing, unless there is nothing to train on.
    rows = parts["train"] or list(chain(*parts.values()))
    frame = None if spacing_mm else common_frame([facts[row] for row in rows])
    medians = np.median([facts[row].spacing_mm(frame) for row in rows], axis=0).tolist()
    x, y, z = (round(value, 4) for value in medians)
    kinds = Counter(_modality(cases[row], facts[row]) or "mr" for row in rows)
    modality = kinds.most_common(1)[0][0]
    return Preparation(spacing_mm=spacing_mm or (x, y, z), frame=frame, modality=modality)


def _for(case: Case, facts: Facts, preparation: Preparation) -> Preparation:
    return replace(preparation, modality=_modality(case, facts) or preparation.modality)


def _modality(case: Case, facts: Facts) -> Modality | None:
    return case.modality or modality_of(facts.modality)


def _task(name: str, layout: VolumeLayout, cases: Sequence[Case], facts: Sequence[Facts]) -> Task:
    regions = {case.region for case in cases}
    told = regions.pop() if len(regions) == 1 else ""
    if not _any_labelled(facts):
        return Task(name, "unlabelled", (), len(cases), told)
    return Task(name, "segmentation", layout.classes(), len(cases), told)


def _any_labelled(facts: Sequence[Facts]) -> bool:
    return any(one.labelled for one in facts)


def _known(layout: VolumeLayout, cases: Sequence[Case]) -> tuple[tuple[int, ...], ...]:
    places = {name: place for place, name in enumerate(layout.classes())}
    return tuple(tuple(sorted(places[name] for name in case.classes or places)) for case in cases)


def _half(on_progress: OnProgress | None, which: int) -> OnProgress | None:
    """Reading is the first half of the work, preparing the second."""
    if on_progress is None:
        return None
    return lambda done, total: on_progress((done + which * total) // 2, total)
