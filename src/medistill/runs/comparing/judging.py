"""From finished runs to what may be concluded: means, intervals, tests, ranks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from statistics import mean
from typing import Any

import numpy as np

from medistill.evaluation.ranks import cliques, critical_difference, friedman, ranks
from medistill.evaluation.repeats import Repeated
from medistill.evaluation.selection import LOWER_IS_BETTER
from medistill.evaluation.significance import Difference, holm
from medistill.report.averages import averaged as over_tasks
from medistill.report.rivals.account import Against, Ranking, Reached, Row, Standing
from medistill.report.wording import counted
from medistill.results import RunFolder, read_json, read_metrics
from medistill.runs.comparing.foundations import Foundations
from medistill.runs.comparing.grid import Block, Cell, Entry, Grid, Merits, final, wanted
from medistill.runs.comparing.measuring import Measured, Measurements, averaged
from medistill.runs.comparing.pricing import Prices
from medistill.spreads import Spread

FEWEST_BLOCKS = 5  # below, a critical difference is wider than any ranks can differ
FROM_SCRATCH = "from scratch"
DIGITS = 9  # of a score: means of the same values in another order are equal
NOT_CHOSEN = {"validation": None, "chosen": ""}  # several sets have no validation in common


@dataclass(frozen=True)
class _Tests:
    """Every entry against one rival: on the mean, and by task; p corrected apart for the two."""

    mean: Mapping[str, Against]
    by_task: Mapping[str, Mapping[str, Against]]


class Verdicts:
    """What the runs of a grid say.

    Args:
        grid: What was compared.
        merits: What validation says of each cell that ended; None for one that failed.
        metric: What the comparison is about.
        draws: Of the bootstrap over the test images.
    """

    def __init__(self, grid: Grid, merits: Merits, metric: str, draws: int) -> None:
        self.grid, self.merits, self.metric = grid, merits, metric
        self.sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
        self.measurements = Measurements(grid, draws)
        ended = [cell for cell in wanted(grid, merits) if merits.get(cell.name) is not None]
        self.prices = Prices(grid, ended)
        self.foundations = Foundations(grid, self.measurements)

    @cached_property
    def standings(self) -> tuple[Standing, ...]:
        """Every block in which something reached its end."""
        found = (self._standing(block) for block in self.grid.blocks)
        return tuple(standing for standing in found if standing.rows)

    @cached_property
    def transfers(self) -> tuple[Standing, ...]:
        """Blocks that differ in their set alone, as tasks of one; where runs start students."""
        if not any(entry.origins for entry in self.grid.entries.values()):
            return ()
        alike: dict[Block, list[Block]] = {}
        for block in self.grid.blocks:
            alike.setdefault(replace(block, data=""), []).append(block)
        return tuple(self._transfer(blocks) for blocks in alike.values() if len(blocks) > 1)

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
        if (block, entry.name) in self.grid.left_out:
            return []
        cells = (final(self.grid, block, entry, seed, self.merits) for seed in self.grid.seeds)
        return [c for c in cells if c is not None and self.merits.get(c.name) is not None]

    def folder(self, cell: Cell) -> RunFolder:
        """Where a cell's run lies."""
        return RunFolder(self.grid.cells / cell.name)

    def _standing(self, block: Block) -> Standing:
        entries = [e for e in self.grid.entries.values() if self.cells(block, e)]
        account = self._account(block, entries)
        cells = {entry.name: self.cells(block, entry) for entry in entries}
        found = {name: self.measurements.of(block.data, own) for name, own in cells.items()}
        return Standing(
            data=block.data,
            teacher=block.teacher,
            student=block.student or "",
            start=block.start,
            fraction=block.fraction,
            images=_images(account),
            classes=tuple(c for one in account for c in one.get("classes", ())),
            rows=tuple(self._rows(cells, found, [block])),
            **self.foundations.reached(block, self._taught(block, entries)),
            teacher_cost=self.prices.teacher(self._taught(block, entries)),
            tasks=tuple(dict.fromkeys(task for m in found.values() for task in m.by_task)),
        )

    def _transfer(self, blocks: Sequence[Block]) -> Standing:
        """Several sets as tasks of one block; an entry without one of them has no mean."""
        entries = list(self.grid.entries.values())
        cells = {e.name: {b.data: self.cells(b, e) for b in blocks} for e in entries}
        found = {name: self._over_sets(by_set) for name, by_set in cells.items()}
        every = {name: list(chain(*by_set.values())) for name, by_set in cells.items()}
        ran = {name: own for name, own in every.items() if own}
        block = blocks[0]
        return Standing(
            data=counted(len(blocks), "set"),
            teacher=block.teacher,
            student=block.student or "",
            start=block.start,
            fraction=block.fraction,
            images={},
            classes=(),
            rows=tuple(self._rows(ran, found, blocks)),
            probe={},
            teacher_cost={},
            tasks=tuple(block.data for block in blocks),
            transfer=True,
        )

    def _over_sets(self, by_set: Mapping[str, Sequence[Cell]]) -> Measured:
        """What one entry reached on each set, and on their mean where it ran on all."""
        known = {data: self.measurements.of(data, own).mean for data, own in by_set.items() if own}
        mean = averaged(list(known.values())) if len(known) == len(by_set) else {}
        return Measured(mean, known)

    def _account(self, block: Block, entries: Sequence[Entry]) -> list[dict[str, Any]]:
        """What a run says of the images of each task, which all runs of the block share."""
        first = next((cell for entry in entries for cell in self.cells(block, entry)), None)
        found = read_json(self.folder(first).data) if first else {}
        return [found[task] for task in self.grid.roots(block.data) if task in found]

    def _rows(
        self,
        cells: Mapping[str, list[Cell]],
        found: Mapping[str, Measured],
        blocks: Sequence[Block],
    ) -> list[Row]:
        """What each entry reached, the best first; students are tested against each other."""
        entries = self.grid.entries
        rivals = {name: found[name] for name in cells if entries[name].makes_student}
        whole = {name: m.mean[self.metric] for name, m in rivals.items() if self.metric in m.mean}
        best = leader(whole, self.sign)
        tests = [self._tests(rivals, rival) for rival in (best, self.grid.reference)]
        rows = [
            self._row(entries[name], own, found[name], tests, blocks) for name, own in cells.items()
        ]
        return self._ordered(rows, best)

    def _tests(self, rivals: Mapping[str, Measured], rival: str) -> _Tests:
        """Each entry's differences to a rival; none to itself."""
        if rival not in rivals:
            return _Tests({}, {})
        own = rivals[rival]
        mean = self._differences({name: m.mean for name, m in rivals.items()}, rival)
        by_task = {
            task: self._differences(
                {n: m.by_task[task] for n, m in rivals.items() if task in m.by_task}, rival
            )
            for task in own.by_task
        }
        said = self.grid.entries[rival].label
        return _Tests(_corrected({"": mean}, said)[""], _corrected(by_task, said))

    def _differences(
        self, measured: Mapping[str, Mapping[str, Repeated]], rival: str
    ) -> dict[str, Difference]:
        known = {n: found[self.metric] for n, found in measured.items() if self.metric in found}
        own = known.pop(rival, None)
        return {
            name: (found - own).tested()
            for name, found in known.items()
            if own is not None and set(found.seeds) & set(own.seeds)
        }

    def _row(
        self,
        entry: Entry,
        cells: Sequence[Cell],
        measured: Measured,
        tests: Sequence[_Tests],
        blocks: Sequence[Block],
    ) -> Row:
        best, alone = (test.mean.get(entry.name) for test in tests)
        return Row(
            entry=entry.name,
            label=entry.label,
            method=entry.method,
            student=entry.makes_student,
            after=entry.after,
            varies=entry.varies,
            metrics=_spreads(measured.mean),
            **(self._validation(cells) if len(blocks) == 1 else NOT_CHOSEN),
            weight=cells[0].weight,
            tried=entry.weights,
            best=best,
            alone=alone,
            runs=tuple(cell.name for cell in cells),
            by_task={task: _reached(entry, task, found, tests)
                     for task, found in measured.by_task.items()},
            **self.prices.bill(cells),
        )  # fmt: skip

    def _validation(self, cells: Sequence[Cell]) -> dict[str, Any]:
        """The mean over seeds of the mean over tasks, and the seed that is best there."""
        values: dict[str, float] = {}
        for cell in cells:
            found = read_metrics(self.folder(cell).metrics)["validation"]
            tasks = [found[task] for task in self.grid.roots(cell.block.data)]
            for one in over_tasks(tasks, [self.metric]).values():
                values |= {cell.name: one["value"]} if one["value"] is not None else {}
        if not values:
            return NOT_CHOSEN
        best = max(values, key=lambda name: self.sign * values[name])
        return {"validation": mean(values.values()), "chosen": best}

    def _ordered(self, rows: Sequence[Row], best: str) -> list[Row]:
        """The leader before all other students; what lacks seeds as it stands to the leader."""
        lead = next((self._score(row) for row in rows if row.entry == best), 0.0)
        scores = {row.entry: self._score(row, lead) for row in rows}
        top = max((scores[row.entry] for row in rows if row.student), default=lead)
        scores |= {best: top} if best else {}
        return sorted(rows, key=lambda row: (-scores[row.entry], row.entry != best))

    def _score(self, row: Row, lead: float | None = None) -> float:
        """Higher is better; beside the leader's score over the seeds that both have."""
        found = row.metrics.get(self.metric)
        if found is None:
            return float("-inf")
        if row.best is not None and lead is not None:
            return round(lead + self.sign * row.best.value, DIGITS)
        return round(self.sign * found.mean, DIGITS)

    def _taught(self, block: Block, entries: Sequence[Entry]) -> list[Cell]:
        taught = [e for e in entries if e.asks_teacher and not e.after]
        return [cell for entry in taught for cell in self.cells(block, entry)[:1]]

    def _ranking(self, blocks: Sequence[Standing]) -> Ranking | None:
        scores = self._scores(blocks)
        if len(blocks) < 2 or len(scores) < 2:
            return None
        table = np.array(list(scores.values())).T
        averages = dict(zip(scores, ranks(table).mean(axis=0).tolist(), strict=True))
        enough = len(blocks) >= FEWEST_BLOCKS
        apart = critical_difference(len(scores), len(blocks)) if enough else None
        others = {row.label for one in blocks for row in one.students} - set(scores)
        return Ranking(
            averages=dict(sorted(averages.items(), key=lambda pair: pair[1])),
            blocks=len(blocks),
            p=friedman(table),
            difference=apart,
            cliques=tuple(map(tuple, cliques(averages, apart))) if apart else (),
            missing=tuple(sorted(others)),
        )

    def _scores(self, blocks: Sequence[Standing]) -> dict[str, list[float]]:
        """By label what each student that all blocks have reached in each."""
        found = {}
        for row in blocks[0].students:
            there = [(one, one.row(row.entry)) for one in blocks]
            scored = [
                self._score(each, self._score(one.students[0]))
                for one, each in there
                if each and self.metric in each.metrics
            ]
            if len(scored) == len(blocks):
                found[row.label] = scored
        return found


def leader(found: Mapping[str, Repeated], sign: float) -> str:
    """Who is best, the first of equals; none of nothing.

    Those with the most seeds come first; who lacks some takes the lead by a higher mean over the
    seeds that it has in common with the leader, so that an easy seed alone wins nothing.

    Args:
        found: By entry.
        sign: -1 where less is better.
    """
    best = ""
    for name in sorted(found, key=lambda name: -len(found[name].seeds)):
        if not best:
            best = name
        elif set(found[name].seeds) & set(found[best].seeds):
            ahead = sign * (found[name] - found[best]).mean
            best = name if round(ahead, DIGITS) > 0 else best
    return best


def _corrected(
    differences: Mapping[str, Mapping[str, Difference]], rival: str
) -> dict[str, dict[str, Against]]:
    """Differences by task and entry, with p-values corrected for all of them at once."""
    known = {
        f"{task}/{name}": one.p
        for task, by_entry in differences.items()
        for name, one in by_entry.items()
        if one.p is not None
    }
    p = holm(known)
    return {
        task: {
            name: Against(rival, d.value or 0.0, d.low, d.high, d.p, p.get(f"{task}/{name}"), d.sd)
            for name, d in by_entry.items()
        }
        for task, by_entry in differences.items()
    }


def _reached(
    entry: Entry, task: str, found: Mapping[str, Repeated], tests: Sequence[_Tests]
) -> Reached:
    best, alone = (test.by_task.get(task, {}).get(entry.name) for test in tests)
    origin = entry.origins.get(task)
    return Reached(_spreads(found), best, alone, shared=bool(origin and origin.shared))


def _spreads(found: Mapping[str, Repeated]) -> dict[str, Spread]:
    return {name: one.spread() for name, one in found.items()}


def _images(account: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many images, or volumes, each split has, over all tasks."""
    found: Counter[str] = Counter()
    for one in account:
        # A volume shows several classes.
        found.update(one.get("volumes") or _summed(one.get("counts", {})))
    return dict(found)


def _summed(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {split: sum(by_class.values()) for split, by_class in counts.items()}
