"""What a comparison found, as its tables and its page tell it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from medistill.report.wording import Number
from medistill.spreads import Spread

ALONE = "student_alone"  # the reference where each run trains one task
LEVEL = 0.05  # a corrected p-value below it is no noise


@dataclass(frozen=True)
class Against:
    """A difference to a rival on the same images, seed by seed.

    Args:
        rival: Its label.
        value: How far above the rival.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p: Of no difference; None where there is nothing to test it by.
        corrected: The same for all comparisons with this rival in the block, by Holm's method.
        sd: Deviation of the difference over the seeds that both have; None for one.
    """

    rival: str
    value: float
    low: float | None
    high: float | None
    p: float | None
    corrected: float | None
    sd: float | None = None

    @property
    def noise(self) -> bool | None:
        """Whether it may well be; None where nobody can tell."""
        return None if self.corrected is None else self.corrected >= LEVEL


@dataclass(frozen=True)
class Reached:
    """What an entry reached in one of several tasks, or in those of a region.

    Args:
        metrics: On test, by name.
        best: Against the best of the block, by the mean over all tasks.
        alone: Against the reference.
        shared: Whether it started from the backbone of all experts, because none fits.
    """

    metrics: Mapping[str, Spread]
    best: Against | None
    alone: Against | None
    shared: bool = False


@dataclass(frozen=True)
class Row:
    """What an entry reached in a block.

    Args:
        entry: Its name.
        label: As tables call it.
        method: Name of the method's file.
        student: Whether it is the block's student; else it is the foundation model itself.
        after: The entry whose run was its teacher.
        varies: Whether it is a variant of a method.
        metrics: On test, by name; of several tasks the unweighted means.
        validation: The metric that the comparison is about, on validation, where choices are made.
        weight: What was chosen for its own weight; None for the default.
        tried: Weights that were tried, the default first; none when it was not tuned.
        cost: Of the deployed network: parameters, bytes, MACs, latency.
        step_seconds: Median time of a training step.
        peak_bytes: Memory at the peak of the training.
        best: Against the best of the block; None for the best itself.
        alone: Against the reference; None for that itself.
        runs: Names of its cells.
        by_task: The same of several tasks, and of regions that have several.
        together: Cost of the networks of all tasks, what they share counted once; of one task none.
        chosen: The one of its cells that validation finds best; empty where none was judged.
    """

    entry: str
    label: str
    method: str
    student: bool
    after: str | None
    varies: bool
    metrics: Mapping[str, Spread]
    validation: float | None
    weight: float | None
    tried: tuple[float, ...]
    cost: Mapping[str, Number | None]
    step_seconds: Number | None
    peak_bytes: Number | None
    best: Against | None
    alone: Against | None
    runs: tuple[str, ...]
    by_task: Mapping[str, Reached] = field(default_factory=dict)
    together: Mapping[str, Number | None] = field(default_factory=dict)
    chosen: str = ""

    @property
    def folder(self) -> str:
        """Of the network to take, in the folder of the comparison: the best on validation."""
        return f"cells/{self.chosen or next(iter(self.runs), '')}"


@dataclass(frozen=True)
class Standing:
    """All that competed on the same images, from the same start.

    Args:
        data: Name of the set.
        teacher: Name of the foundation model; None where the recipe has none.
        student: Name of the small network.
        start: Run that the student started from; None from random weights.
        fraction: Share of the training images.
        images: How many, by split.
        classes: Names of the classes.
        rows: The best mean first.
        probe: Of the frozen teacher, by metric: value and interval.
        teacher_cost: Of the foundation model.
        tasks: Names of several tasks, and the words for the means of their regions; else none.
        transfer: Whether the tasks are sets, each with runs of its own.
        probe_by_task: Of a foundation model that judges several tasks itself.
        unified: The same by its one head, where the classes of all tasks compete.
    """

    data: str
    teacher: str | None
    student: str
    start: str | None
    fraction: float
    images: Mapping[str, int]
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    probe: Mapping[str, Spread]
    teacher_cost: Mapping[str, Number | None]
    tasks: tuple[str, ...] = ()
    transfer: bool = False
    probe_by_task: Mapping[str, Mapping[str, Spread]] = field(default_factory=dict)
    unified: Mapping[str, Mapping[str, Spread]] = field(default_factory=dict)

    @property
    def students(self) -> tuple[Row, ...]:
        """What competes: ways of making the same small network."""
        return tuple(row for row in self.rows if row.student)

    def row(self, entry: str) -> Row | None:
        """What an entry reached here; None where it did not run."""
        return next((row for row in self.rows if row.entry == entry), None)


@dataclass(frozen=True)
class Ranking:
    """Average ranks over blocks; see `evaluation.ranks`.

    Args:
        averages: By label, best first.
        blocks: How many they are over.
        p: Of Friedman's test that all are alike.
        difference: Average ranks closer than this are not told apart; None with too few blocks.
        cliques: Labels that are not told apart.
        missing: Labels that did not run in every block, and so have no rank.
    """

    averages: Mapping[str, float]
    blocks: int
    p: float
    difference: float | None
    cliques: tuple[tuple[str, ...], ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Account:
    """Everything that a comparison found.

    Args:
        name: Of its folder.
        metric: What it is about.
        seeds: Of the trainings.
        tune: How many weights each method could choose among; 1 for its default alone.
        settings: What all runs share, in words.
        standings: Block by block.
        rankings: By start, over the whole training sets.
        labels: Of each entry, in the order of the tables.
        own: The entry of the recipe's own method.
        variants: What each variant changes in the recipe, by label.
        absent: What was left out, and why.
        failed: Runs that failed, and why.
        machine: What step times and latencies were measured on.
        peak_of: What memory is measured of.
        recipe: The resolved recipe, as YAML.
        reference: The entry that all others are tested against.
        transfers: Several sets taken together, where students start from finished runs.
        learnt: Where test images were learnt from before, in sentences.
        samples: What the sets hold, in words.
    """

    name: str
    metric: str
    seeds: tuple[int, ...]
    tune: int
    settings: Mapping[str, str]
    standings: tuple[Standing, ...]
    rankings: Mapping[str, Ranking]
    labels: Mapping[str, str]
    own: str
    variants: Mapping[str, str]
    absent: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    machine: str
    peak_of: str
    recipe: str
    reference: str = ALONE
    transfers: tuple[Standing, ...] = ()
    learnt: tuple[str, ...] = ()
    samples: Literal["images", "volumes"] = "images"

    def rows(self) -> Iterator[tuple[Standing, Row]]:
        """Every row with its block."""
        for standing in self.standings:
            for row in standing.rows:
                yield standing, row

    @property
    def rival(self) -> str:
        """The reference in words."""
        words = f"the {ALONE.replace('_', ' ')}"
        return words if self.reference == ALONE else self.labels[self.reference]

    def rivals(self, one: Standing) -> dict[str, Callable[[Row | Reached], Against | None]]:
        """What a block's rows were tested against, in words: its best, then the reference."""
        # Where the reference leads, the two are one.
        best = [row.label for row in one.students[:1] if row.entry != self.reference]
        return {**{label: attrgetter("best") for label in best}, self.rival: attrgetter("alone")}

    @property
    def whole(self) -> tuple[Standing, ...]:
        """Blocks that train on the largest share of the images."""
        most = max((one.fraction for one in self.standings), default=1.0)
        return tuple(one for one in self.standings if one.fraction == most)
