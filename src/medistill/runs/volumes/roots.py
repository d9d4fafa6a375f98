"""The volumes of a run: found, opened, looked through, and refused where they would mislead."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from medistill.assemble import split_rules
from medistill.data.volumes.layouts.base import Case, VolumeLayout, with_patients
from medistill.data.volumes.opening import OpenedVolumes, open_volumes
from medistill.recipe import Recipe, Root
from medistill.results import RunFolder
from medistill.runs.console import Console
from medistill.runs.images import counting, writable
from medistill.scans import Preparation
from medistill.types import Task, vocabulary


def classes_of(layouts: Mapping[str, VolumeLayout]) -> tuple[str, ...]:
    """Every class that some root outlines: what a segmenter may be asked for."""
    tasks = [Task(name, "segmentation", one.classes(), 0) for name, one in layouts.items()]
    return vocabulary(tasks)


def open_roots(
    recipe: Recipe,
    layouts: Mapping[str, VolumeLayout],
    run: RunFolder | None,
    console: Console,
    *,
    preparation: Preparation | None = None,
) -> tuple[OpenedVolumes, ...]:
    """Every root of a recipe: prepared once, split, and looked through for traps.

    Args:
        recipe: Says how.
        layouts: Of its roots.
        run: Its saved splits are used again, if it has any.
        console: Shows the progress of the preparation.
        preparation: Of the volumes, where it is known; what suits them by default.
    """
    saved = run.splits if run is not None and run.splits.exists() else None
    folder = writable(recipe.data.store)
    opened = []
    for name, layout in layouts.items():
        root = recipe.data.roots[name]
        cases = _cases(layout, root)
        with counting(console, f"preparing {name}", len(cases)) as on_progress:
            one = open_volumes(
                name,
                layout,
                cases,
                preparation=preparation or recipe.data.spacing_mm,
                rules=split_rules(recipe),
                folder=folder,
                saved_splits=saved,
                on_progress=on_progress,
            )
        opened.append(one.within(root.region))
    return tuple(opened)


def say_splits(opened: Sequence[OpenedVolumes], console: Console) -> None:
    """One line for each root: how many volumes, how they are divided, and how they are seen."""
    for one in opened:
        counts = ", ".join(f"{part} {len(rows)}" for part, rows in one.dataset.splits.items())
        spacing = " x ".join(f"{side:.3g}" for side in one.dataset.preparation.spacing_mm)
        name = one.name
        console.say(f"{name}: {len(one.cases)} volumes at {spacing} mm ({counts}; {one.how})")


def _cases(layout: VolumeLayout, root: Root) -> list[Case]:
    cases = layout.cases()
    if root.patient_pattern:
        cases = with_patients(cases, root.patient_pattern)
    if root.modality is not None:
        cases = [replace(case, modality=root.modality) for case in cases]
    return cases


def key_of(one: OpenedVolumes) -> str:
    """Hash of the volumes and of what was done to them."""
    told = (one.digests, [facts.label_digest for facts in one.facts], one.dataset.preparation)
    return sha256(repr(told).encode()).hexdigest()
