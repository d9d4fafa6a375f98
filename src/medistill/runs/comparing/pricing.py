"""What the networks of cells cost, and what their trainings did."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from statistics import median
from typing import Any

from medistill.report.wording import Number
from medistill.results import RunFolder, read_known
from medistill.runs.comparing.grid import Cell, Grid

SAME = ("parameters", "macs", "bytes")  # networks that are equal in these are one network
TIMED = ("latency_ms_p50", "latency_ms_p95", "seconds_a_volume")
Cost = Mapping[str, Number | None]


class Prices:
    """Reads the costs of finished cells; equal networks have one latency.

    A latency is measured once in each run, and on a busy machine the same network takes now 1.5 and
    now 9 ms: a front of quality and latency would join those that were lucky.

    Args:
        grid: What was compared.
        cells: All that are finished.
    """

    def __init__(self, grid: Grid, cells: Sequence[Cell]) -> None:
        self.grid, self.cells = grid, cells
        self._costs: dict[str, dict[str, Any]] = {}

    def bill(self, cells: Sequence[Cell]) -> dict[str, Any]:
        """What an entry's network costs, and what its training did."""
        expenses = [read_known(self._folder(cell).expense) for cell in cells]
        own = _middle([self._cost(cell).get("student") or {} for cell in cells])
        return {
            "cost": self._timed(own, cells[0].block.data),
            "step_seconds": _median([expense.get("step_seconds") for expense in expenses]),
            "peak_bytes": _median([expense.get("peak_bytes") for expense in expenses]),
            "together": _middle([_together(self._cost(cell)) for cell in cells]),
        }

    def teacher(self, cells: Sequence[Cell]) -> dict[str, Number | None]:
        """What the foundation model costs, as the first of its students' runs that knows says."""
        costs = ((cell, self._cost(cell).get("teacher")) for cell in cells)
        known = ((cell, cost) for cell, cost in costs if cost)
        return next((self._timed(cost, cell.block.data) for cell, cost in known), {})

    def _timed(self, cost: Cost, data: str) -> dict[str, Number | None]:
        """A cost with the latencies of all networks that are equal to it."""
        same = _same(cost, data)
        return {**cost, **(self._times.get(same, {}) if same else {})}

    @cached_property
    def _times(self) -> dict[tuple[Number | str, ...], dict[str, Number | None]]:
        """The median of every network's latencies over all runs that measured it."""
        found: dict[tuple[Number | str, ...], list[Cost]] = {}
        for cell in self.cells:
            cost = self._cost(cell)
            for own in filter(None, (cost.get("student"), cost.get("teacher"))):
                if same := _same(own, cell.block.data):
                    found.setdefault(same, []).append({k: own[k] for k in TIMED if k in own})
        return {same: _middle(costs) for same, costs in found.items()}

    def _cost(self, cell: Cell) -> dict[str, Any]:
        if cell.name not in self._costs:
            self._costs[cell.name] = read_known(self._folder(cell).cost)
        return self._costs[cell.name]

    def _folder(self, cell: Cell) -> RunFolder:
        return RunFolder(self.grid.cells / cell.name)


def _same(cost: Cost, data: str) -> tuple[Number | str, ...] | None:
    """What equal networks have in common; None where that is not known."""
    known = [cost.get(name) for name in SAME]
    # The time of a whole volume depends on how large those of the set are.
    of_set = [data] if "seconds_a_volume" in cost else []
    found = [value for value in known if value is not None]
    return (*found, *of_set) if len(found) == len(SAME) else None


def _together(cost: Mapping[str, Any]) -> Cost:
    """Of all tasks' networks in the form that needs the fewest numbers: experts not folded in."""
    found = cost.get("unfused") or cost.get("together") or {}
    return {key: found[key] for key in ("parameters", "bytes") if key in found}


def _middle(costs: Sequence[Cost]) -> dict[str, Number | None]:
    """Median of each quantity over the seeds."""
    names = dict.fromkeys(name for cost in costs for name in cost)
    return {name: _median([cost.get(name) for cost in costs]) for name in names}


def _median(values: Sequence[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
