"""What can run here is found out before anything runs: hours later it would be a failure."""

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from medistill import catalog
from medistill.assemble import (
    Foundation,
    build_foundation,
    build_method,
    build_student,
    check_collaborators,
    features_file,
    freeze,
    is_features,
    method_class,
    takes,
)
from medistill.data.opening import Opened
from medistill.documents import Document
from medistill.errors import UserError
from medistill.models.networks import Student
from medistill.models.probes import Probe
from medistill.models.teachers import Precomputed, Probed, Teacher
from medistill.recipe import Recipe, TeacherSource
from medistill.runs.comparing.grid import WHERE, Block, Entry, Grid
from medistill.runs.console import Console
from medistill.runs.images import open_images, refuse_or_warn
from medistill.runs.roots import volume_roots
from medistill.runs.validating import by_task


@dataclass(frozen=True)
class Absent:
    """Something that was asked for and cannot be had.

    Args:
        what: Its name.
        why: In a sentence, with where to get it.
    """

    what: str
    why: str


def screen(grid: Grid, console: Console) -> tuple[Grid, list[Absent]]:
    """The grid of what can run here, and what was left out.

    Opens every set once, so that no two runs decode the same images at once.

    Raises:
        UserError: Nothing is left to compare.
    """
    opened, absent = _open_sets(grid, console)
    bench = _Bench(grid, opened)
    missing = bench.missing_teachers()
    absent += [Absent(name, why) for name, why in missing.items()]
    blocks = (b for b in grid.blocks if b.data in opened and b.teacher not in missing)
    grid = replace(grid, blocks=tuple(blocks))
    grid = replace(grid, left_out=bench.left_out(grid))
    absent += [Absent(what, why) for what, why in _told(grid)]
    for one in absent:
        console.warn(f"{one.what} is left out: {one.why}")
    if not any(True for _ in grid.competing()):
        raise UserError(f"Nothing is left to compare. {absent[0].what}: {absent[0].why}")
    return grid, absent


def _open_sets(grid: Grid, console: Console) -> tuple[dict[str, Sequence[Opened]], list[Absent]]:
    opened: dict[str, Sequence[Opened]] = {}
    absent = []
    for block in {block.data: block for block in grid.blocks}.values():
        missing = [root for root in grid.roots(block.data).values() if not _exists(root)]
        if missing:
            where = grid.sets[block.data].get(WHERE, "Give its place: --data NAME=FOLDER.")
            why = f"there is nothing at {missing[0].get('root')}. {where}"
            absent.append(Absent(block.data, why))
            continue
        try:
            recipe = grid.recipe_of(replace(block, fraction=1.0), Entry("", "", ""))
            _refuse_volumes(recipe)
            found = open_images(recipe, None, console)
            refuse_or_warn(found, recipe, console)
        except UserError as error:
            absent.append(Absent(block.data, str(error)))
        else:
            opened[block.data] = found
    return opened, absent


def _refuse_volumes(recipe: Recipe) -> None:
    if volume_roots(recipe):
        raise UserError("it holds volumes, and networks that outline organs are not compared yet.")


def _exists(root: Document) -> bool:
    return Path(str(root.get("root"))).exists()


class _Bench:
    """Tries whether methods can be built; networks are built once.

    Args:
        grid: What was asked for.
        opened: The sets that are here.
    """

    def __init__(self, grid: Grid, opened: Mapping[str, Sequence[Opened]]) -> None:
        self.grid, self.opened = grid, opened
        self.students: dict[str, Student] = {}
        self.foundation: tuple[str, Foundation] | None = None
        self.known: dict[tuple[object, ...], str | None] = {}

    def missing_teachers(self) -> dict[str, str]:
        """Why a foundation model cannot be had, by its name; files of features go with a set."""
        found = {}
        for block in {b.teacher: b for b in self.grid.blocks if b.data in self.opened}.values():
            recipe = self.grid.recipe_of(block, Entry("", "", ""))
            if block.teacher and recipe.teacher and not is_features(recipe.teacher):
                try:
                    self._foundation(recipe, recipe.teacher)
                except UserError as error:
                    found[block.teacher] = str(error)
        return found

    def left_out(self, grid: Grid) -> dict[tuple[Block, str], str]:
        """Why an entry cannot run, by block and name."""
        found: dict[tuple[Block, str], str] = {}
        # A foundation model is large: one at a time.
        for block in sorted(grid.blocks, key=lambda block: block.teacher or ""):
            for entry in grid.entries.values():
                why = found.get((block, entry.after or "")) or self._why_not(block, entry)
                if why is not None:
                    found[block, entry.name] = why
        return found

    def _why_not(self, block: Block, entry: Entry) -> str | None:
        """The same for sets that differ in their images alone."""
        if entry.origins and entry.origins[block.data].student is None:
            return entry.origins[block.data].why
        classes = [len(one.dataset.task.classes) for one in self.opened[block.data]]
        own = entry.alone(block)
        # What a file of features holds depends on the set.
        where = block.data if self._of_features(block) or entry.origins else ""
        few = self._few(block)
        key = (own.teacher, own.student, own.start, entry.name, *classes, where, few)
        if key not in self.known:
            try:
                self._build(block, entry)
                self.known[key] = None
            except UserError as error:
                self.known[key] = str(error)
        return self.known[key]

    def _few(self, block: Block) -> bool:
        """Whether the training images do not fill a batch."""
        rows = sum(len(one.dataset.splits["train"]) for one in self.opened[block.data])
        return bool(block.fraction * rows < self.grid.base["training"]["batch_size"])

    def _of_features(self, block: Block) -> bool:
        section = self.grid.teachers[block.teacher] if block.teacher else {}
        return str(section.get("name", "")).startswith("features:")

    def _build(self, block: Block, entry: Entry) -> None:
        recipe = self.grid.recipe_of(block, entry)
        check_collaborators(recipe, list(recipe.data.roots), lambda _: None)
        opened = self.opened[block.data]
        _refuse_unjudged(opened)
        if "batch_size" in catalog.settings(method_class(recipe)) and self._few(block):
            raise UserError("its batches must be full, and there are fewer training images.")
        student = self._student(recipe)
        teacher = self._teacher(block, entry, recipe, student)
        datasets = [one.dataset for one in opened]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each run says them in its own log
            method = build_method(
                recipe,
                student=student.with_classes(len(datasets[0].task.classes)),
                teacher=teacher,
                tasks=[one.task for one in datasets],
            )
        if len(by_task(method, datasets)) < len(datasets):
            raise UserError(f"{entry.method} trains nothing that could be judged.")

    def _student(self, recipe: Recipe) -> Student:
        key = recipe.student.model_dump_json()
        if key not in self.students:
            self.students[key] = build_student(recipe, classes=2)
        return deepcopy(self.students[key])

    def _teacher(
        self, block: Block, entry: Entry, recipe: Recipe, student: Student
    ) -> Teacher | None:
        """The teacher that the entry would have; of the run that it comes after, a bare network."""
        source, opened = recipe.teacher, self.opened[block.data]
        if source is None or not takes(recipe, "teacher"):
            return None
        if is_features(source):
            several = len(opened) > 1
            sources = [
                f"{one.dataset.task.name}/{sample.source}" if several else sample.source
                for one in opened
                for sample in one.samples
            ]
            views = recipe.data.views
            bare: Teacher = Precomputed.open(features_file(source), sources, views=views)
        else:
            stage = self.grid.entries.get(entry.after or "")
            foundation = (
                self._untrained(block, stage) if stage else self._foundation(recipe, source)
            )
            bare = freeze(recipe, foundation, student)
        if len(opened) > 1:
            return bare
        return Probed(bare, _blank_probe(bare.width, len(opened[0].dataset.task.classes)))

    def _untrained(self, block: Block, stage: Entry) -> Foundation:
        """What a stage would train, before it does."""
        recipe = self.grid.recipe_of(block, stage)
        encoder = self._student(recipe).encoder
        return Foundation(encoder, recipe.student.name, "", None, random=False)

    def _foundation(self, recipe: Recipe, source: TeacherSource) -> Foundation:
        key = source.model_dump_json(exclude={"grid", "cache", "licence"})
        if self.foundation is None or self.foundation[0] != key:
            self.foundation = None  # the last one's memory first
            self.foundation = (key, build_foundation(source, size=recipe.data.size))
        return self.foundation[1]


def _refuse_unjudged(opened: Sequence[Opened]) -> None:
    for one in opened:
        task = one.dataset.task
        if not task.classes or not len(one.dataset.splits["test"]):
            raise UserError(f"{task.name} has no labelled test images to be judged by.")


def _blank_probe(width: int, classes: int) -> Probe:
    """In place of the one that each run fits."""
    return Probe(torch.zeros(classes, width), torch.zeros(classes), 1.0, 0.0, 0.0)


def _told(grid: Grid) -> list[tuple[str, str]]:
    """One line for each entry and reason, with the blocks where it runs in others."""
    concerned: dict[tuple[str, str], list[Block]] = {}
    for (block, name), why in grid.left_out.items():
        concerned.setdefault((name, why), []).append(block)
    told = []
    for (name, why), blocks in concerned.items():
        some = "" if len(blocks) == len(grid.blocks) else f" ({_places(blocks)})"
        told.append((f"{grid.entries[name].label}{some}", why))
    return told


def _places(blocks: Sequence[Block]) -> str:
    names = [" · ".join(filter(None, (b.data, b.teacher, b.student))) for b in blocks]
    shown = list(dict.fromkeys(names))
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
