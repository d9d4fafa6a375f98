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
from medistill.errors import UserError
from medistill.models.networks import Student
from medistill.models.probes import Probe
from medistill.models.teachers import Precomputed, Probed, Teacher
from medistill.recipe import Recipe, TeacherSource
from medistill.runs.comparing.grid import WHERE, Block, Entry, Grid
from medistill.runs.console import Console
from medistill.runs.images import open_images, refuse_or_warn
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


def _open_sets(grid: Grid, console: Console) -> tuple[dict[str, Opened], list[Absent]]:
    opened, absent = {}, []
    for block in {block.data: block for block in grid.blocks}.values():
        root = grid.sets[block.data]
        if not Path(str(root.get("root"))).exists():
            where = root.get(WHERE, "Give its place: --data NAME=FOLDER.")
            absent.append(Absent(block.data, f"there is nothing at {root.get('root')}. {where}"))
            continue
        try:
            recipe = grid.recipe_of(replace(block, fraction=1.0), Entry("", "", ""))
            found = open_images(recipe, None, console)
            refuse_or_warn(found, recipe, console)
        except UserError as error:
            absent.append(Absent(block.data, str(error)))
        else:
            opened[block.data] = found[0]
    return opened, absent


class _Bench:
    """Tries whether methods can be built; networks are built once.

    Args:
        grid: What was asked for.
        opened: The sets that are here.
    """

    def __init__(self, grid: Grid, opened: Mapping[str, Opened]) -> None:
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
        task = self.opened[block.data].dataset.task
        own = entry.alone(block)
        # What a file of features holds depends on the set.
        where = block.data if self._of_features(block) else ""
        few = self._few(block)
        key = (own.teacher, own.student, own.start, entry.name, len(task.classes), where, few)
        if key not in self.known:
            try:
                self._build(block, entry)
                self.known[key] = None
            except UserError as error:
                self.known[key] = str(error)
        return self.known[key]

    def _few(self, block: Block) -> bool:
        """Whether the training images do not fill a batch."""
        rows = len(self.opened[block.data].dataset.splits["train"])
        return bool(block.fraction * rows < self.grid.base["training"]["batch_size"])

    def _of_features(self, block: Block) -> bool:
        section = self.grid.teachers[block.teacher] if block.teacher else {}
        return str(section.get("name", "")).startswith("features:")

    def _build(self, block: Block, entry: Entry) -> None:
        recipe = self.grid.recipe_of(block, entry)
        check_collaborators(recipe, [block.data], lambda _: None)
        one = self.opened[block.data]
        if not one.dataset.task.classes or not len(one.dataset.splits["test"]):
            raise UserError(f"{block.data} has no labelled test images to be judged by.")
        if "batch_size" in catalog.settings(method_class(recipe)) and self._few(block):
            raise UserError("its batches must be full, and there are fewer training images.")
        student = self._student(recipe)
        teacher = None
        if recipe.teacher is not None and takes(recipe, "teacher"):
            teacher = self._teacher(recipe, recipe.teacher, student, one)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each run says them in its own log
            method = build_method(
                recipe,
                student=student.with_classes(len(one.dataset.task.classes)),
                teacher=teacher,
                tasks=[one.dataset.task],
            )
        if not by_task(method, [one.dataset]):
            raise UserError(f"{entry.method} trains nothing that could be judged.")

    def _student(self, recipe: Recipe) -> Student:
        key = recipe.student.model_dump_json()
        if key not in self.students:
            self.students[key] = build_student(recipe, classes=2)
        return deepcopy(self.students[key])

    def _teacher(
        self, recipe: Recipe, source: TeacherSource, student: Student, one: Opened
    ) -> Teacher:
        if is_features(source):
            sources = [sample.source for sample in one.samples]
            views = recipe.data.views
            bare: Teacher = Precomputed.open(features_file(source), sources, views=views)
        else:
            bare = freeze(recipe, self._foundation(recipe, source), student)
        return Probed(bare, _blank_probe(bare.width, len(one.dataset.task.classes)))

    def _foundation(self, recipe: Recipe, source: TeacherSource) -> Foundation:
        key = source.model_dump_json(exclude={"grid", "cache", "licence"})
        if self.foundation is None or self.foundation[0] != key:
            self.foundation = None  # the last one's memory first
            self.foundation = (key, build_foundation(source, size=recipe.data.size))
        return self.foundation[1]


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
