"""Whether methods can be built on sets of volumes."""

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy

from medistill.assemble import build_method, check_collaborators, takes
from medistill.data.volumes.opening import OpenedVolumes
from medistill.errors import UserError
from medistill.models.segmentation_teachers import FrozenSegmenter
from medistill.models.segmenters.base import Segmenter
from medistill.recipe import Recipe, TeacherSource
from medistill.runs.comparing.bench import Bench, refuse_unjudged
from medistill.runs.comparing.grid import Block, Entry, Grid
from medistill.runs.volumes.building import Known, build_student, build_teacher
from medistill.runs.volumes.outlining import by_task
from medistill.runs.volumes.preparing import chosen_patch, refuse_method_of_images
from medistill.types import vocabulary

Words = tuple[str, ...]


class VolumeBench(Bench[OpenedVolumes]):
    """Tries methods that outline.

    Args:
        grid: What was asked for.
        opened: The sets that are here.
    """

    def __init__(self, grid: Grid, opened: Mapping[str, Sequence[OpenedVolumes]]) -> None:
        super().__init__(grid, opened)
        self.students: dict[tuple[str, Words], Segmenter] = {}
        self.foundation: tuple[tuple[str, Words], Known] | None = None

    def meet(self, recipe: Recipe, source: TeacherSource) -> None:
        """Which classes it must know, a set says."""
        self._foundation(source, ())

    def apart(self, block: Block, entry: Entry) -> str:
        """Always the name: a segmenter is asked for classes by theirs."""
        return block.data

    def build(self, block: Block, entry: Entry) -> None:
        """Student, teacher and method, and what the method would deploy."""
        recipe = self.grid.recipe_of(block, entry)
        refuse_method_of_images(recipe)
        check_collaborators(recipe, list(recipe.data.roots), lambda _: None)
        opened = self.opened[block.data]
        refuse_unjudged(opened)
        datasets = [one.dataset for one in opened]
        words = vocabulary([one.task for one in datasets])
        student = self._student(recipe, words)
        known = self._known(block, entry, recipe, words)
        networks = [student, *([known] if known else [])]
        patch = chosen_patch(recipe, opened, networks)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each run says them in its own log
            method = build_method(
                recipe,
                student=student,
                teacher=FrozenSegmenter(known, words, patch) if known else None,
                tasks=[one.task for one in datasets],
            )
        if len(by_task(method.deploy(), datasets)) < len(datasets):
            raise UserError(f"{entry.method} trains nothing that could be judged.")

    def _student(self, recipe: Recipe, words: Words) -> Segmenter:
        key = recipe.student.model_dump_json(), words
        if key not in self.students:
            self.students[key] = build_student(recipe, words).segmenter
        return deepcopy(self.students[key])

    def _known(self, block: Block, entry: Entry, recipe: Recipe, words: Words) -> Segmenter | None:
        """The teacher that the entry would have; of the run that it comes after, a bare network."""
        if recipe.teacher is None or not takes(recipe, "teacher"):
            return None
        stage = self.grid.entries.get(entry.after or "")
        if stage is not None:
            return self._student(self.grid.recipe_of(block, stage), words)
        return self._foundation(recipe.teacher, words).segmenter

    def _foundation(self, source: TeacherSource, words: Words) -> Known:
        key = source.model_dump_json(exclude={"cache", "licence"}), words
        if self.foundation is None or self.foundation[0] != key:
            self.foundation = None  # the last one's memory first
            self.foundation = (key, build_teacher(source, words))
        return self.foundation[1]
