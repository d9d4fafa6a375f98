"""Whether methods can be built, tried before anything runs; networks are built once."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from medistill.data.opening import Opened
from medistill.data.volumes.opening import OpenedVolumes
from medistill.errors import UserError
from medistill.recipe import Recipe, TeacherSource
from medistill.runs.comparing.grid import Block, Entry, Grid

One = TypeVar("One", Opened, OpenedVolumes)
NO_ENTRY = Entry("", "", "")


class Bench(ABC, Generic[One]):
    """Tries methods on the sets of a comparison.

    Args:
        grid: What was asked for.
        opened: The sets that are here.
    """

    def __init__(self, grid: Grid, opened: Mapping[str, Sequence[One]]) -> None:
        self.grid = grid
        self.opened: Mapping[str, Sequence[One]] = opened
        self.known: dict[tuple[object, ...], str | None] = {}

    def missing_teachers(self) -> dict[str, str]:
        """Why a foundation model cannot be had, by its name; files of features go with a set."""
        found = {}
        for block in {b.teacher: b for b in self.grid.blocks if b.data in self.opened}.values():
            recipe = self.grid.recipe_of(block, NO_ENTRY)
            if block.teacher and recipe.teacher:
                try:
                    self.meet(recipe, recipe.teacher)
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

    @abstractmethod
    def meet(self, recipe: Recipe, source: TeacherSource) -> Any:
        """Build a foundation model; a `UserError` says why it cannot be had."""

    @abstractmethod
    def build(self, block: Block, entry: Entry) -> None:
        """Build what an entry would train; a `UserError` says why it cannot run."""

    @abstractmethod
    def apart(self, block: Block, entry: Entry) -> str:
        """What tells a set from others of as many classes, if anything does."""

    def few(self, block: Block) -> bool:
        """Whether the training samples do not fill a batch."""
        rows = sum(len(one.dataset.splits["train"]) for one in self.opened[block.data])
        return bool(block.fraction * rows < self.grid.base["training"]["batch_size"])

    def _why_not(self, block: Block, entry: Entry) -> str | None:
        """The same for sets that differ in their images alone."""
        if entry.origins and entry.origins[block.data].student is None:
            return entry.origins[block.data].why
        classes = tuple(len(one.dataset.task.classes) for one in self.opened[block.data])
        own = entry.alone(block)
        where, few = self.apart(block, entry), self.few(block)
        key = (own.teacher, own.student, own.start, entry.name, classes, where, few)
        if key not in self.known:
            try:
                self.build(block, entry)
                self.known[key] = None
            except UserError as error:
                self.known[key] = str(error)
        return self.known[key]


def refuse_unjudged(opened: Sequence[One]) -> None:
    """Refuse a task that no test sample judges.

    Raises:
        UserError: It has no class, or nothing in the test split.
    """
    for one in opened:
        task = one.dataset.task
        if not task.classes or not len(one.dataset.splits["test"]):
            raise UserError(f"{task.name} has no labelled test images to be judged by.")
