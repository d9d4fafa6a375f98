"""The runs of a grid, several at once, whatever was interrupted before."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from medistill.assemble import method_class, takes
from medistill.data.ahead import cores
from medistill.errors import UserError
from medistill.evaluation.selection import merit
from medistill.recipe import Recipe, dump
from medistill.report.averages import averaged
from medistill.report.wording import duration, value_of
from medistill.results import RunFolder, read_json, read_metrics, write_text
from medistill.runs.comparing.grid import Cell, Grid, count, wanted
from medistill.runs.console import Advance, Console
from medistill.runs.train import difference

POLL_SECONDS = 0.2
KILLED = "it was killed (signal {}), as the system does where memory runs out"


class Attempt(Protocol):
    """A run that was begun: a process, as `subprocess.Popen` holds one."""

    def poll(self) -> int | None:
        """Its exit code; None while it works."""

    def kill(self) -> None:
        """Stop it."""

    def wait(self) -> int:
        """Until it has ended."""


Begin = Callable[[Path, Path, Path], Attempt]
"""From a recipe's file, the folder of the run, and the file of what it prints."""


@dataclass(frozen=True)
class Failed:
    """A run that did not reach its end.

    Args:
        cell: Its name.
        why: The last line that it printed.
    """

    cell: str
    why: str


class Runs:
    """The cells of a grid, begun in turn and followed to their ends.

    Args:
        grid: What to run.
        jobs: How many at once.
        metric: Told of each run that ends.
        console: Where to tell it.
        begin: Begins a run.

    Attributes:
        merits: What validation says of each cell that ended; None for one that failed.
        failed: Those, with their last words.
    """

    def __init__(
        self, grid: Grid, jobs: int, metric: str, console: Console, begin: Begin | None = None
    ) -> None:
        self.grid, self.jobs, self.metric, self.console = grid, jobs, metric, console
        self.begin = begin or in_processes(jobs)
        self.merits: dict[str, float | None] = {}
        self.failed: list[Failed] = []
        self.working: dict[str, tuple[Cell, Attempt]] = {}
        self._asks: dict[str, str | None] = {}

    def finish(self) -> None:
        """Run what is missing; what fails is named while the rest goes on.

        Raises:
            UserError: A folder holds a run of another recipe.
        """
        self._take_up()
        done, total = len(self.merits), count(self.grid)
        self.console.say(f"{total} runs, {done} of them finished before")
        with ExitStack() as stack:
            tell = stack.enter_context(self.console.track("runs", total, begun=done, pause=0.0))
            stack.callback(self._stop)
            while self._begin_some(tell) or self.working:
                self._await_one(tell)

    def finished(self) -> list[Cell]:
        """Every cell that reached its end."""
        known = wanted(self.grid, self.merits)
        return [cell for cell in known if self.merits.get(cell.name) is not None]

    def folder(self, cell: Cell) -> RunFolder:
        """Where a cell's run lies."""
        return RunFolder(self.grid.cells / cell.name)

    def _take_up(self) -> None:
        """Count what earlier attempts finished, as long as that makes more cells known."""
        while new := [cell for cell in wanted(self.grid, self.merits) if self._was_finished(cell)]:
            for cell in new:
                self.merits[cell.name] = self._merit(cell)

    def _was_finished(self, cell: Cell) -> bool:
        run = self.folder(cell)
        if cell.name in self.merits or not run.recipe.exists():
            return False
        other = difference(run, self.grid.recipe(cell))
        if other:
            raise UserError(
                f"{run.path} holds a run of another recipe ({other}). Choose another --out."
            )
        return run.finished

    def _merit(self, cell: Cell) -> float:
        """The mean over its tasks."""
        found = read_metrics(self.folder(cell).metrics)["validation"]
        select = self.grid.recipe(cell).training.select
        # A training may go to its last epoch; its weights are chosen among all the same.
        merits = [
            merit(found[task], select if select in found[task] else self.metric)
            for task in self.grid.roots(cell.block.data)
        ]
        return sum(merits) / len(merits)

    def _begin_some(self, tell: Advance) -> bool:
        """Begin as many as may work at once; whether anything changed."""
        changed = False
        for cell in wanted(self.grid, self.merits):
            if cell.name in self.merits or cell.name in self.working:
                continue
            if cell.stage and self.merits.get(cell.stage.name, 0.0) is None:
                self._fail(cell, f"its teacher {cell.stage.name} failed", tell)
                changed = True
            elif len(self.working) < self.jobs and self._may_begin(cell):
                self._begin(cell)
                changed = True
        return changed

    def _may_begin(self, cell: Cell) -> bool:
        """Not before its teacher is trained, nor beside a run that asks the same teacher first."""
        if cell.stage and cell.stage.name not in self.merits:
            return False
        asked = self._asked(cell)
        return asked is None or not any(
            self._asked(other) == asked and not self._has_asked(other)
            for other, _ in self.working.values()
        )

    def _asked(self, cell: Cell) -> str | None:
        if cell.name not in self._asks:
            self._asks[cell.name] = _asked(self.grid.recipe(cell))
        return self._asks[cell.name]

    def _has_asked(self, cell: Cell) -> bool:
        """Whether a run's teacher has answered, so that others find it in the cache."""
        run = self.folder(cell)
        return run.probe.exists() or run.last.exists()

    def _begin(self, cell: Cell) -> None:
        recipe = self.grid.cells.parent / "recipes" / f"{cell.name}.yaml"
        write_text(recipe, dump(self.grid.recipe(cell)))
        self._log(cell).parent.mkdir(parents=True, exist_ok=True)
        attempt = self.begin(recipe, self.folder(cell).path, self._log(cell))
        self.working[cell.name] = (cell, attempt)

    def _await_one(self, tell: Advance) -> None:
        """Until one has ended, or another may begin."""
        ended = [cell for cell, attempt in self.working.values() if attempt.poll() is not None]
        if not ended:
            time.sleep(POLL_SECONDS)
        for cell in ended:
            _, attempt = self.working.pop(cell.name)
            self._settle(cell, attempt.poll(), tell)

    def _settle(self, cell: Cell, code: int | None, tell: Advance) -> None:
        """Note what a run that has ended with this code has reached."""
        if code == 0 and self.folder(cell).finished:
            self.merits[cell.name] = self._merit(cell)
            tell(len(self.merits), self._told(cell))
        else:
            self._fail(cell, _last_words(self._log(cell), code or 0), tell)

    def _fail(self, cell: Cell, why: str, tell: Advance) -> None:
        self.merits[cell.name] = None
        self.failed.append(Failed(cell.name, why))
        self.console.warn(f"{cell.name} failed: {why}")
        tell(len(self.merits), "")

    def _told(self, cell: Cell) -> str:
        run = self.folder(cell)
        tested = read_metrics(run.metrics).get("test", {})
        found = averaged(
            [tested.get(task, {}) for task in self.grid.roots(cell.block.data)], [self.metric]
        )
        value = found[self.metric]["value"] if self.metric in found else None
        took = duration(read_json(run.environment).get("seconds", 0.0))
        return f"{cell.name}: {self.metric} {value_of(self.metric, value)} in {took}"

    def _log(self, cell: Cell) -> Path:
        return self.grid.cells.parent / "logs" / f"{cell.name}.txt"

    def _stop(self) -> None:
        """Leave nothing working behind; what a run did is kept."""
        for _, attempt in self.working.values():
            attempt.kill()
        for _, attempt in self.working.values():
            attempt.wait()


def _asked(recipe: Recipe) -> str | None:
    """What must be equal for two runs to want the same answers of the same teacher."""
    if recipe.teacher is None or not takes(recipe, "teacher"):
        return None
    method = method_class(recipe)
    # How fine the maps are that are kept, the method says for its student and its settings.
    maps = (method.finest.__qualname__, recipe.student.name, recipe.method.get("stage"))
    asked = maps if method.scales == "all" else ()
    return f"{recipe.data.roots} {recipe.teacher} {asked}"


def in_processes(jobs: int) -> Begin:
    """Each run in a process of its own, with its share of the cores."""
    share = {"OMP_NUM_THREADS": str(max(1, cores() // jobs))} if jobs > 1 else {}

    def begin(recipe: Path, folder: Path, log: Path) -> subprocess.Popen[Any]:
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "medistill.runs.comparing.cell", recipe, folder],
                stdin=subprocess.PIPE,  # held open: it ends when this process does
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**share, **os.environ},
                # A Control-C is this process's alone: it stops the runs itself, quietly.
                start_new_session=True,
            )

    return begin


def _last_words(log: Path, code: int) -> str:
    """The last line that a run printed, unless it had no time to say what happened."""
    if code < 0:
        return KILLED.format(-code)
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")
