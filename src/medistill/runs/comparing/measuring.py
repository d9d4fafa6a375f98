"""What finished cells reached on test: by metric, and of several tasks by task, region and mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medistill.case_results import CaseResult, read_cases
from medistill.errors import UserError
from medistill.evaluation.repeats import Repeated, mean_of, repeated
from medistill.evaluation.volume_differences import repeated_cases
from medistill.report.averages import together
from medistill.report.wording import METRICS
from medistill.results import PredictionTable, RunFolder, read_predictions
from medistill.runs.comparing.grid import Cell, Grid

Metrics = Mapping[str, Repeated]
Tested = PredictionTable | tuple[CaseResult, ...]
"""What a network said of the test images, or how well it outlined the test volumes."""


@dataclass(frozen=True)
class Measured:
    """What an entry reached in a block, over its seeds.

    Args:
        mean: Every metric; of several tasks their unweighted mean.
        by_task: Of several tasks: that of each, then the mean of each region that has several.
    """

    mean: Metrics
    by_task: Mapping[str, Metrics] = field(default_factory=dict)


class Measurements:
    """Reads and resamples the predictions of cells; what blocks share is measured once.

    Args:
        grid: What was compared.
        draws: Of the bootstrap over the test images.
    """

    def __init__(self, grid: Grid, draws: int) -> None:
        self.grid, self.draws = grid, draws
        self._known: dict[tuple[str, ...], Measured] = {}
        self._like: dict[tuple[str, str], Tested] = {}

    def of(self, data: str, cells: Sequence[Cell]) -> Measured:
        """What the cells of an entry, one for each seed, reached on a set."""
        key = tuple(cell.name for cell in cells)
        if key not in self._known:
            self._known[key] = self._measured(data, cells)
        return self._known[key]

    def of_run(self, data: str, run: RunFolder) -> Measured | None:
        """What a finished run reached, such as the foundation model; None on other images."""
        roots = self.grid.roots(data)
        if not run.finished or not set(roots) <= set(run.tasks()):
            return None
        try:
            return self._together(data, {0: _tested(run)})
        except UserError:  # it was judged on other images, or calls the classes otherwise
            return None

    def _measured(self, data: str, cells: Sequence[Cell]) -> Measured:
        read = {cell.seed: _tested(RunFolder(self.grid.cells / cell.name)) for cell in cells}
        if self.grid.several(data):
            return self._together(data, read)
        return Measured(self._task(data, data, read, list(self.grid.sets).index(data)))

    def _together(self, data: str, read: Mapping[int, Mapping[str, Tested]]) -> Measured:
        roots = self.grid.roots(data)
        found = {task: self._task(data, task, read, place) for place, task in enumerate(roots)}
        return with_means(found, {task: root.get("region") or task for task, root in roots.items()})

    def _task(
        self, data: str, task: str, read: Mapping[int, Mapping[str, Tested]], place: int
    ) -> Metrics:
        by_seed = {seed: by_task[task] for seed, by_task in read.items()}
        like = self._like.setdefault((data, task), next(iter(by_seed.values())))
        found = _repeated(by_seed, like, draws=self.draws, seed=place)
        return {name: found[name] for name in METRICS if name in found}


def _tested(run: RunFolder) -> Mapping[str, Tested]:
    """Predictions on test by task, or the scores of its volumes."""
    if run.cases.exists():
        cases = [case for case in read_cases(run.cases) if case.split == "test"]
        return {name: tuple(c for c in cases if c.task == name) for name in run.tasks()}
    tables = read_predictions(run.predictions) if run.predictions.exists() else []
    return {table.task: table for table in tables if table.split == "test"}


def _repeated(
    by_seed: Mapping[int, Tested], like: Tested, *, draws: int, seed: int
) -> dict[str, Repeated]:
    """Every metric over the seeds, of images or of volumes."""
    if isinstance(like, PredictionTable):
        tables = {n: table for n, table in by_seed.items() if isinstance(table, PredictionTable)}
        return repeated(tables, like, draws=draws, seed=seed)
    cases = {n: own for n, own in by_seed.items() if isinstance(own, tuple)}
    return repeated_cases(cases, like, draws=draws, seed=seed)


def with_means(found: Mapping[str, Metrics], regions: Mapping[str, str]) -> Measured:
    """Tasks, the mean of each region that has several of them but not all, and the mean of all.

    Args:
        found: Of each task.
        regions: Of each task.
    """
    groups = together(regions)
    means = {
        words: averaged([found[task] for task in tasks])
        for words, tasks in groups.items()
        if len(tasks) < len(found)
    }
    return Measured(averaged(list(found.values())), {**found, **means})


def averaged(parts: Sequence[Metrics]) -> Metrics:
    """The metrics that all tasks have, averaged over them."""
    common = [name for name in METRICS if all(name in metrics for metrics in parts)]
    return {name: mean_of([metrics[name] for metrics in parts]) for name in common}
