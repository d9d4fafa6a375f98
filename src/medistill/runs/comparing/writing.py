"""The files of a comparison: every number, the tables, and the page."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medistill.report.averages import averaged, together
from medistill.report.rivals.account import Account
from medistill.report.rivals.budget import Budget, front_table, record, sentences
from medistill.report.rivals.bytask import task_tables
from medistill.report.rivals.costs import cost_table, training_table
from medistill.report.rivals.latex import as_markdown, latex
from medistill.report.rivals.page import page
from medistill.report.rivals.tables import (
    ablation_table,
    methods_table,
    size_table,
    teacher_table,
    tuned_table,
    tuning_table,
)
from medistill.report.wording import METRICS
from medistill.results import (
    Estimate,
    RunFolder,
    read_json,
    read_known,
    read_metrics,
    replacing,
    write_json,
    write_text,
)
from medistill.runs.comparing.grid import Cell, Grid

COLUMNS = ("data", "teacher", "student", "start", "fraction", "entry", "method", "seed", "weight",
           "run", "split", "task", "metric", "value", "low", "high")  # fmt: skip
TABLES = {
    "methods": methods_table, "tuned": tuned_table, "ablation": ablation_table,
    "sizes": size_table, "teachers": teacher_table, "fronts": front_table, "costs": cost_table,
    "training": training_table, "tuning": tuning_table,
}  # fmt: skip
Line = dict[str, Any]


def write_account(folder: Path, account: Account, budget: Budget) -> Path:
    """Write `comparison.json`, `.md`, `.tex` and `.html`; the page is returned."""
    chosen = record(account, budget)
    write_json(folder / "comparison.json", {**asdict(account), "budget": chosen or None})
    made = {name: table for name, make in TABLES.items() if (table := make(account))}
    made = {**task_tables(account), **made}
    write_text(folder / "comparison.md", _within(account, budget) + as_markdown(made))
    write_text(folder / "comparison.tex", latex(made))
    write_text(folder / "comparison.html", page(account, budget))
    return folder / "comparison.html"


def _within(account: Account, budget: Budget) -> str:
    """What the budget allows, as a list in Markdown; nothing without a bound."""
    lines = [f"- **{data}**: {said}" for data, said in sentences(account, budget).items()]
    return "\n".join([f"The best within {budget}:", "", *lines, "", ""]) if lines else ""


def write_csv(folder: Path, grid: Grid, cells: list[Cell]) -> None:
    """Write `comparison.csv`: a row for each finished run and metric, what it cost among them."""
    path = folder / "comparison.csv"
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for cell in cells:
            roots = grid.roots(cell.block.data)
            regions = {task: root.get("region") or task for task, root in roots.items()}
            run, known = RunFolder(grid.cells / cell.name), _described(grid, cell)
            writer.writerows({**known, **line} for line in _measured(run, regions))


def _described(grid: Grid, cell: Cell) -> Line:
    block = cell.block
    return {
        "data": block.data, "teacher": block.teacher, "student": block.student,
        "start": block.start, "fraction": block.fraction, "entry": cell.entry,
        "method": grid.entries[cell.entry].method, "seed": cell.seed, "weight": cell.weight,
        "run": cell.name,
    }  # fmt: skip


def _measured(run: RunFolder, regions: Mapping[str, str]) -> Iterator[Line]:
    for split, tasks in read_metrics(run.metrics).items():
        for task, estimates in _with_means(tasks, regions):
            for name, estimate in estimates.items():
                yield {"split": split, "task": task, "metric": name, **estimate}
    yield from _taken(run)


def _taken(run: RunFolder) -> Iterator[Line]:
    """What the student costs, what its training took, and what all tasks cost together."""
    costs = read_known(run.cost)
    expense = read_known(run.expense)
    taken = {name: expense.get(name) for name in ("step_seconds", "peak_bytes")}
    for name, value in {**(costs.get("student") or {}), **taken, **_seconds(run)}.items():
        yield {"split": "", "metric": name, "value": value}
    for kind in ("together", "unfused"):
        for name in ("parameters", "bytes"):
            if kind in costs:
                yield {"split": "", "task": kind, "metric": name, "value": costs[kind][name]}


def _with_means(
    tasks: Mapping[str, Mapping[str, Estimate]], regions: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[str, Estimate]]]:
    """Each task, then the means of regions and of all where there are several."""
    judged = {task: tasks[task] for task in regions if task in tasks}
    yield from judged.items()
    for words, names in together({task: regions[task] for task in judged}).items():
        yield words, averaged([judged[name] for name in names], tuple(METRICS))


def _seconds(run: RunFolder) -> Line:
    return {"seconds": read_json(run.environment).get("seconds")}
