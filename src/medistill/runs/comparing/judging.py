"""From finished runs to what may be concluded: means, intervals, tests, ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from statistics import mean, median
from typing import Any

import numpy as np

from medistill.evaluation.ranks import cliques, critical_difference, friedman, ranks
from medistill.evaluation.repeats import Repeated, repeated
from medistill.evaluation.selection import LOWER_IS_BETTER
from medistill.evaluation.significance import holm
from medistill.report.rivals.account import Against, Ranking, Row, Spread, Standing
from medistill.report.wording import METRICS, Number
from medistill.results import (
    Estimate,
    PredictionTable,
    RunFolder,
    read_json,
    read_metrics,
    read_predictions,
)
from medistill.runs.comparing.entrants import REFERENCE
from medistill.runs.comparing.grid import Block, Cell, Entry, Grid, Merits, final

FEWEST_BLOCKS = 5  # below, a critical difference is wider than any ranks can differ
FROM_SCRATCH = "from scratch"


class Verdicts:
    """What the runs of a grid say.

    Args:
        grid: What was compared.
        merits: What validation says of each cell that ended; None for one that failed.
        metric: What the comparison is about.
        draws: Of the bootstrap over the test images.
    """

    def __init__(self, grid: Grid, merits: Merits, metric: str, draws: int) -> None:
        self.grid, self.merits, self.metric, self.draws = grid, merits, metric, draws
        self.sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
        self._known: dict[tuple[str, ...], dict[str, Repeated]] = {}
        self._like: dict[str, PredictionTable] = {}

    @cached_property
    def standings(self) -> tuple[Standing, ...]:
        """Every block in which something reached its end."""
        found = (self._standing(block) for block in self.grid.blocks)
        return tuple(standing for standing in found if standing.rows)

    @cached_property
    def rankings(self) -> dict[str, Ranking]:
        """Average ranks of ways to make a student, for each start."""
        most = max((one.fraction for one in self.standings), default=1.0)
        by_start: dict[str, list[Standing]] = {}
        for one in self.standings:
            if one.fraction == most:
                by_start.setdefault(one.start or FROM_SCRATCH, []).append(one)
        found = {start: self._ranking(blocks) for start, blocks in by_start.items()}
        return {start: ranking for start, ranking in found.items() if ranking is not None}

    def cells(self, block: Block, entry: Entry) -> list[Cell]:
        """The finished cells of an entry in a block, one for each seed."""
        cells = (final(self.grid, block, entry, seed, self.merits) for seed in self.grid.seeds)
        return [c for c in cells if c is not None and self.merits.get(c.name) is not None]

    def folder(self, cell: Cell) -> RunFolder:
        """Where a cell's run lies."""
        return RunFolder(self.grid.cells / cell.name)

    def _standing(self, block: Block) -> Standing:
        entries = [e for e in self.grid.entries.values() if self.cells(block, e)]
        account = self._account(block, entries)
        counts: dict[str, dict[str, int]] = account.get("counts", {})
        return Standing(
            data=block.data,
            teacher=block.teacher,
            student=block.student or "",
            start=block.start,
            fraction=block.fraction,
            images={split: sum(by_class.values()) for split, by_class in counts.items()},
            classes=tuple(account.get("classes", ())),
            rows=tuple(self._rows(block, entries)),
            probe=self._probe(block, entries),
            teacher_cost=self._teacher_cost(block, entries),
        )

    def _account(self, block: Block, entries: Sequence[Entry]) -> dict[str, Any]:
        """What a run says of the images, which all runs of the block share."""
        first = next((cell for entry in entries for cell in self.cells(block, entry)), None)
        return read_json(self.folder(first).data)[block.data] if first else {}

    def _rows(self, block: Block, entries: Sequence[Entry]) -> list[Row]:
        """What each entry reached, the best first; students are tested against each other."""
        rivals = {e.name: self._measured(block, e) for e in entries if e.makes_student}
        measured = {name: found for name, found in rivals.items() if self.metric in found}
        best = max(measured, key=lambda n: self.sign * measured[n][self.metric].mean, default="")
        against = {rival: self._against(measured, rival) for rival in (best, REFERENCE)}
        rows = [
            self._row(block, entry, against[best].get(entry.name), against[REFERENCE])
            for entry in entries
        ]
        return sorted(rows, key=lambda row: -self._score(row))

    def _measured(self, block: Block, entry: Entry) -> dict[str, Repeated]:
        """Every metric of an entry on test; runs that blocks share are measured once."""
        cells = self.cells(block, entry)
        key = tuple(cell.name for cell in cells)
        if key not in self._known:
            tables = {cell.seed: self._tested(cell) for cell in cells}
            like = self._like.setdefault(block.data, next(iter(tables.values())))
            found = repeated(tables, like, draws=self.draws)
            self._known[key] = {name: found[name] for name in METRICS if name in found}
        return self._known[key]

    def _tested(self, cell: Cell) -> PredictionTable:
        tables = read_predictions(self.folder(cell).predictions)
        return next(table for table in tables if table.split == "test")

    def _against(
        self, measured: Mapping[str, Mapping[str, Repeated]], rival: str
    ) -> dict[str, Against]:
        """Each entry's difference to a rival; none to itself."""
        if rival not in measured:
            return {}
        own = measured[rival][self.metric]
        differences = {
            name: (found[self.metric] - own).tested()
            for name, found in measured.items()
            if name != rival and set(found[self.metric].seeds) & set(own.seeds)
        }
        known = {name: found.p for name, found in differences.items() if found.p is not None}
        corrected, label = holm(known), self.grid.entries[rival].label
        return {
            name: Against(label, d.value or 0.0, d.low, d.high, d.p, corrected.get(name))
            for name, d in differences.items()
        }

    def _row(
        self, block: Block, entry: Entry, best: Against | None, alone: Mapping[str, Against]
    ) -> Row:
        cells = self.cells(block, entry)
        expenses = [_read(self.folder(cell).expense) for cell in cells]
        costs = [_read(self.folder(cell).cost).get("student") or {} for cell in cells]
        measured = self._measured(block, entry)
        return Row(
            entry=entry.name,
            label=entry.label,
            method=entry.method,
            student=entry.makes_student,
            after=entry.after,
            varies=entry.varies,
            metrics={name: Spread(**asdict(r.spread())) for name, r in measured.items()},
            validation=self._validation(cells),
            weight=cells[0].weight,
            tried=entry.weights,
            cost=_middle(costs),
            step_seconds=_median([expense.get("step_seconds") for expense in expenses]),
            peak_bytes=_median([expense.get("peak_bytes") for expense in expenses]),
            best=best,
            alone=alone.get(entry.name),
            runs=tuple(cell.name for cell in cells),
        )

    def _validation(self, cells: Sequence[Cell]) -> float | None:
        found = [
            read_metrics(self.folder(cell).metrics)["validation"][cell.block.data] for cell in cells
        ]
        values = [
            estimates[self.metric]["value"] for estimates in found if self.metric in estimates
        ]
        known = [value for value in values if value is not None]
        return mean(known) if known else None

    def _score(self, row: Row) -> float:
        found = row.metrics.get(self.metric)
        return self.sign * found.mean if found else float("-inf")

    def _probe(self, block: Block, entries: Sequence[Entry]) -> dict[str, Spread]:
        """What the frozen teacher knows, as the first run that asks it found."""
        for cell in self._taught(block, entries):
            metrics = _read(self.folder(cell).teacher_metrics)
            found: dict[str, Estimate] = metrics.get("test", {}).get(block.data, {})
            known = {name: found[name] for name in METRICS if name in found}
            if known:
                return {
                    name: Spread(e["value"], None, e["low"], e["high"], 1)
                    for name, e in known.items()
                    if e["value"] is not None
                }
        return {}

    def _teacher_cost(self, block: Block, entries: Sequence[Entry]) -> dict[str, Number | None]:
        costs = (_read(self.folder(c).cost).get("teacher") for c in self._taught(block, entries))
        return next((dict(cost) for cost in costs if cost), {})

    def _taught(self, block: Block, entries: Sequence[Entry]) -> list[Cell]:
        taught = [e for e in entries if e.asks_teacher and not e.after]
        return [cell for entry in taught for cell in self.cells(block, entry)[:1]]

    def _ranking(self, blocks: Sequence[Standing]) -> Ranking | None:
        everywhere = [
            row.label
            for row in blocks[0].students
            if all(self._scored(one, row.entry) for one in blocks)
        ]
        if len(blocks) < 2 or len(everywhere) < 2:
            return None
        scores = np.array([
            [self._score(row) for label in everywhere for row in one.students if row.label == label]
            for one in blocks
        ])  # fmt: skip
        averages = dict(zip(everywhere, ranks(scores).mean(axis=0).tolist(), strict=True))
        enough = len(blocks) >= FEWEST_BLOCKS
        apart = critical_difference(len(everywhere), len(blocks)) if enough else None
        others = {row.label for one in blocks for row in one.students} - set(everywhere)
        return Ranking(
            averages=dict(sorted(averages.items(), key=lambda pair: pair[1])),
            blocks=len(blocks),
            p=friedman(scores),
            difference=apart,
            cliques=tuple(map(tuple, cliques(averages, apart))) if apart else (),
            missing=tuple(sorted(others)),
        )

    def _scored(self, standing: Standing, entry: str) -> bool:
        row = standing.row(entry)
        return row is not None and self.metric in row.metrics


def _read(path: Any) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _middle(costs: Sequence[Mapping[str, Number | None]]) -> dict[str, Number | None]:
    """Median of each quantity over the seeds: latencies differ from run to run."""
    names = dict.fromkeys(name for cost in costs for name in cost)
    return {name: _median([cost.get(name) for cost in costs]) for name in names}


def _median(values: Sequence[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
