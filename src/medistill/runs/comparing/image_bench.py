"""Whether methods can be built on sets of images."""

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy

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
from medistill.runs.comparing.bench import Bench, refuse_unjudged
from medistill.runs.comparing.grid import Block, Entry, Grid
from medistill.runs.validating import by_task


class ImageBench(Bench[Opened]):
    """Tries methods that classify.

    Args:
        grid: What was asked for.
        opened: The sets that are here.
    """

    def __init__(self, grid: Grid, opened: Mapping[str, Sequence[Opened]]) -> None:
        super().__init__(grid, opened)
        self.students: dict[str, Student] = {}
        self.foundation: tuple[str, Foundation] | None = None

    def meet(self, recipe: Recipe, source: TeacherSource) -> None:
        """A file of features is opened with its set."""
        if not is_features(source):
            self._foundation(recipe, source)

    def apart(self, block: Block, entry: Entry) -> str:
        """The name, where a file of features or a start belongs to one set."""
        section = self.grid.teachers[block.teacher] if block.teacher else {}
        of_features = str(section.get("name", "")).startswith("features:")
        return block.data if of_features or entry.origins else ""

    def build(self, block: Block, entry: Entry) -> None:
        """Student, teacher and method, and what the method would deploy."""
        recipe = self.grid.recipe_of(block, entry)
        check_collaborators(recipe, list(recipe.data.roots), lambda _: None)
        opened = self.opened[block.data]
        refuse_unjudged(opened)
        if "batch_size" in catalog.settings(method_class(recipe)) and self.few(block):
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
        if len(by_task(method.deploy(), datasets)) < len(datasets):
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


def _blank_probe(width: int, classes: int) -> Probe:
    """In place of the one that each run fits."""
    return Probe(torch.zeros(classes, width), torch.zeros(classes), 1.0, 0.0, 0.0)
