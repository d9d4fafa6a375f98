"""What the foundation models of a comparison reach themselves, beside the students."""

from collections.abc import Sequence
from typing import Any

from medistill.assemble import run_folder
from medistill.report.wording import METRICS
from medistill.results import Estimate, RunFolder, read_known
from medistill.runs.comparing.grid import Block, Cell, Grid
from medistill.runs.comparing.measuring import Measured, Measurements
from medistill.runs.unified import PREFIX
from medistill.spreads import Spread


class Foundations:
    """Reads what teachers found of the very images that their students are judged on.

    Args:
        grid: What is compared.
        measurements: Of its runs.
    """

    def __init__(self, grid: Grid, measurements: Measurements) -> None:
        self.grid, self.measurements = grid, measurements

    def reached(self, block: Block, taught: Sequence[Cell]) -> dict[str, Any]:
        """By a block's teacher: as it judges several tasks itself, or by the probe on it.

        Args:
            block: Whose teacher.
            taught: Finished cells whose runs asked it.
        """
        asked = self._itself(block)
        if asked is None:
            return {"probe": self._probe(block, taught), "probe_by_task": {}}
        return {
            "probe": {name: one.spread() for name, one in asked.mean.items()},
            "probe_by_task": {
                task: {name: one.spread() for name, one in found.items()}
                for task, found in asked.by_task.items()
            },
            "unified": self._unified(block),
        }

    def _itself(self, block: Block) -> Measured | None:
        """The run that teaches several tasks, as it judges them itself: it has no probe there."""
        run = self._run(block)
        if run is None or not self.grid.several(block.data):
            return None
        return self.measurements.of_run(block.data, run)

    def _unified(self, block: Block) -> dict[str, dict[str, Spread]]:
        """The same run by its one head, as it found itself; nothing where it has no such head."""
        run = self._run(block)
        tested = read_known(run.metrics).get("test", {}) if run else {}
        return {
            task: {
                name.removeprefix(PREFIX): _of_one_run(estimate)
                for name, estimate in tested.get(task, {}).items()
                if name.startswith(PREFIX) and estimate["value"] is not None
            }
            for task in self.grid.roots(block.data)
        }

    def _run(self, block: Block) -> RunFolder | None:
        section = self.grid.teachers[block.teacher] if block.teacher else {}
        folder = run_folder(str(section.get("name", "")))
        return RunFolder(folder) if folder else None

    def _probe(self, block: Block, taught: Sequence[Cell]) -> dict[str, Spread]:
        """What the frozen teacher knows, as the first run that asks it found."""
        for cell in taught:
            metrics = read_known(RunFolder(self.grid.cells / cell.name).teacher_metrics)
            found: dict[str, Estimate] = metrics.get("test", {}).get(block.data, {})
            known = {name: found[name] for name in METRICS if name in found}
            if known:
                return {n: _of_one_run(e) for n, e in known.items() if e["value"] is not None}
        return {}


def _of_one_run(estimate: Estimate) -> Spread:
    assert estimate["value"] is not None, "only what is defined is told"
    return Spread(estimate["value"], None, estimate["low"], estimate["high"], 1)
