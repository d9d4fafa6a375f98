"""Which runs a comparison is made of: pure functions of what was asked and of what has ended."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from medistill.documents import Document, with_overrides
from medistill.recipe import Recipe, validate

FACTOR = 4.0  # between two weights that are tried
WHERE = "where"  # of a set: where somebody who lacks it finds it
ROOTS = "roots"  # of a set: the tasks that every run trains together
ITSELF = "teacher"  # a variant's `student: teacher`: the foundation model is trained
OF_A_NETWORK = ("name", "weights", "options", "mean", "std", "stretch", "size", "licence")

Merits = Mapping[str, float | None]
"""Of cells that ended, by name: how good validation found them; None for one that failed."""


@dataclass(frozen=True)
class Block:
    """What is equal for all that compete; None where it makes no difference to a run.

    Args:
        data: Name of the set of images, or of several that are trained together.
        teacher: Name of the foundation model.
        student: Name of the small network.
        start: Run whose network the student starts from; None from random weights.
        fraction: Share of the training images.
    """

    data: str
    teacher: str | None
    student: str | None
    start: str | None = None
    fraction: float = 1.0


@dataclass(frozen=True)
class Origin:
    """The network of a finished run that a student starts from, on one set.

    Args:
        student: The recipe's section, with `{seed}` for the seed in its name; None for none.
        shared: Whether no expert of the run fits, so that its shared backbone stands in.
        why: Why there is none.
    """

    student: Document | None
    shared: bool = False
    why: str = ""


@dataclass(frozen=True)
class Entry:
    """What competes: a method of the catalogue, or a variant that the recipe describes.

    Args:
        name: Distinct from all others.
        label: As tables call it.
        method: Name of the method's file.
        overrides: What it changes in the recipe, as `--set` would.
        after: The entry whose run is its teacher.
        asks_teacher: Whether it depends on the block's teacher.
        makes_student: Whether it trains the block's student; else it is the foundation model's.
        tunable: The setting that is its own weight.
        weights: To be tried, the default first; none when nothing is tuned.
        origins: By set, what its student was trained as before; none where that is the block's.
    """

    name: str
    label: str
    method: str
    overrides: tuple[str, ...] = ()
    after: str | None = None
    asks_teacher: bool = True
    makes_student: bool = True
    tunable: str | None = None
    weights: tuple[float, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @property
    def varies(self) -> bool:
        """Whether it is a variant of a method: an ablation, or a second step."""
        return self.name != self.method

    def alone(self, block: Block) -> Block:
        """The block without what makes no difference: equal runs are made once."""
        if not self.asks_teacher:
            block = replace(block, teacher=None)
        if self.origins:
            block = replace(block, start=None)
        return block if self.makes_student else replace(block, student=None, start=None)


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Args:
        block: Without what makes no difference.
        entry: Name of what is tried.
        seed: Of the training.
        weight: Of the entry's own term; None for its default.
        stage: The cell whose run is its teacher.
    """

    block: Block
    entry: str
    seed: int
    weight: float | None = None
    stage: "Cell | None" = None

    @property
    def name(self) -> str:
        """Name of its folder: the same in a larger grid, so that a comparison can grow."""
        block = self.block
        parts = [block.data, block.teacher or "no teacher", block.student or "no student"]
        parts += [f"from {Path(block.start).name}"] if block.start else []
        parts += [f"{100 * block.fraction:g}%"] if block.fraction < 1 else []
        parts += [self.entry, *_told("weight", self)]
        parts += _told("after weight", self.stage) if self.stage else []
        return "--".join(map(_plain, [*parts, f"seed{self.seed}"]))


@dataclass(frozen=True)
class Grid:
    """All that is compared.

    Args:
        base: The recipe that every run shares, as a document.
        sets: Root of each set of images, as in `data.roots`; of several trained together, these.
        teachers: Section of each teacher.
        students: Section of each student.
        blocks: In the order of the tables.
        entries: What competes, by name, stages before what comes after them.
        seeds: The first one tunes.
        cells: Folder of the runs.
        left_out: Why an entry cannot run in a block.
        reference: The entry that always competes, and that all others are tested against.
        outlines: Whether the sets hold volumes; images until they are looked at.
    """

    base: Document
    sets: Mapping[str, Document]
    teachers: Mapping[str, Document]
    students: Mapping[str, Document]
    blocks: tuple[Block, ...]
    entries: Mapping[str, Entry]
    seeds: tuple[int, ...]
    cells: Path
    left_out: Mapping[tuple[Block, str], str] = field(default_factory=dict)
    reference: str = "student_alone"
    outlines: bool = False

    def roots(self, data: str) -> dict[str, Document]:
        """The roots of a set by task: one of its own name, or those that are trained together."""
        roots = self.sets[data].get(ROOTS, {data: self.sets[data]})
        return {name: {k: v for k, v in root.items() if k != WHERE} for name, root in roots.items()}

    def several(self, data: str) -> bool:
        """Whether the runs of a set train several tasks together."""
        return ROOTS in self.sets[data]

    def recipe(self, cell: Cell) -> Recipe:
        """Everything that decides a cell's run."""
        return self.recipe_of(cell.block, self.entries[cell.entry], cell)

    def recipe_of(self, block: Block, entry: Entry, cell: Cell | None = None) -> Recipe:
        """The recipe of an entry in a block, for one of its cells or for none in particular."""
        shared = {**self.base, **self._sections(block), "compare": None}
        document = with_overrides(shared, [*entry.overrides, *_own(cell, entry)])
        if entry.origins:
            document["student"] = _origin(entry, block, cell.seed if cell else self.seeds[0])
        if document["student"] in (ITSELF, {"name": ITSELF}):
            document["student"] = _network(document["teacher"] or {})
        if entry.after:
            stage = cell.stage.name if cell and cell.stage else entry.after
            document["teacher"] = {
                **_kept(document["teacher"]), "name": f"run:{self.cells / stage}",
            }  # fmt: skip
        return validate(document)

    def _sections(self, block: Block) -> Document:
        """What a block says in a recipe."""
        own = {"roots": self.roots(block.data), "fraction": block.fraction}
        sections: Document = {
            "data": {**self.base["data"], **own},
            "teacher": self.teachers[block.teacher] if block.teacher else None,
        }
        if block.student:
            sections["student"] = {**self.students[block.student], "start": block.start}
        return sections

    def competing(self) -> Iterator[tuple[Block, Entry]]:
        """Every entry that can run, in every block."""
        for block in self.blocks:
            for entry in self.entries.values():
                if (block, entry.name) not in self.left_out:
                    yield block, entry


def override(path: str, value: Any) -> str:
    """A setting in the syntax of `--set`."""
    return f"{path}={json.dumps(value)}"


def around(default: float, count: int) -> tuple[float, ...]:
    """So many weights about a default, which comes first: 1, 4, 1/4, 16, 1/16."""
    powers = [(step + 1) // 2 * (1 if step % 2 else -1) for step in range(count)]
    return tuple(default * FACTOR**power for power in powers)


def wanted(grid: Grid, merits: Merits) -> list[Cell]:
    """Every cell that is known to be needed; more are once weights are chosen and stages are over.

    Seed by seed, so that an interrupted comparison has a whole table of few seeds.
    """
    found = (
        cell
        for seed in grid.seeds
        for block, entry in grid.competing()
        for cell in _needed(grid, block, entry, seed, merits)
    )
    return list({cell.name: cell for cell in found}.values())


def count(grid: Grid) -> int:
    """How many cells there will be in all."""
    each = {
        (entry.alone(block), entry.name): len(grid.seeds) + max(1, len(entry.weights)) - 1
        for block, entry in grid.competing()
    }
    return sum(each.values())


def final(grid: Grid, block: Block, entry: Entry, seed: int, merits: Merits) -> Cell | None:
    """The cell that stands in the tables; None as long as its weight or its stage is open."""
    weights = _weights(entry)
    if len(weights) == 1:
        return _cell(grid, block, entry, seed, None, merits)
    tried = [_cell(grid, block, entry, grid.seeds[0], weight, merits) for weight in weights]
    known = [cell for cell in filter(None, tried) if cell.name in merits]
    if len(known) < len(weights):
        return None
    best = max(known, key=lambda cell: _merit(merits[cell.name]))
    return _cell(grid, block, entry, seed, best.weight, merits)


def _needed(grid: Grid, block: Block, entry: Entry, seed: int, merits: Merits) -> list[Cell]:
    if seed == grid.seeds[0]:
        cells = [_cell(grid, block, entry, seed, weight, merits) for weight in _weights(entry)]
    else:
        cells = [final(grid, block, entry, seed, merits)]
    return [cell for cell in cells if cell is not None]


def _cell(
    grid: Grid, block: Block, entry: Entry, seed: int, weight: float | None, merits: Merits
) -> Cell | None:
    stage = final(grid, block, grid.entries[entry.after], seed, merits) if entry.after else None
    if entry.after and stage is None:
        return None
    return Cell(entry.alone(block), entry.name, seed, weight, stage)


def _weights(entry: Entry) -> list[float | None]:
    """The default is no weight at all: a comparison that is tuned later shares its runs."""
    return [None, *entry.weights[1:]]


@cache
def _plain(text: str) -> str:
    """Without what a file system minds."""
    return re.sub(r"[^\w.=+%-]", "_", text)


def _told(what: str, cell: Cell) -> list[str]:
    return [] if cell.weight is None else [f"{what} {cell.weight:g}"]


def _own(cell: Cell | None, entry: Entry) -> list[str]:
    if cell is None:
        return []
    weight = [] if cell.weight is None else [override(f"method.{entry.tunable}", cell.weight)]
    return [override("training.seed", cell.seed), *weight]


def _origin(entry: Entry, block: Block, seed: int) -> Document:
    found = entry.origins[block.data].student
    assert found is not None, "an entry without a start on a set is left out there"
    return {**found, "name": str(found["name"]).replace("{seed}", str(seed))}


def _network(foundation: Document) -> Document:
    """The part of a teacher's section that a student's has too."""
    # A run brings its own weights, and a student's cannot be said to be none.
    return {key: foundation[key] for key in OF_A_NETWORK if foundation.get(key) is not None}


def _kept(teacher: Document | None) -> Document:
    """What is said of a teacher beside its network: a run brings that as it was trained."""
    lost = set(OF_A_NETWORK) - {"name", "licence"}
    return {key: value for key, value in (teacher or {}).items() if key not in lost}


def _merit(found: float | None) -> float:
    return float("-inf") if found is None else found
