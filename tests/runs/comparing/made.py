"""Grids, and finished runs of their cells that nobody trained: files as a training leaves them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medistill.recipe import Recipe, dump, validate
from medistill.results import (
    Estimate,
    PredictionTable,
    RunFolder,
    write_json,
    write_metrics,
    write_predictions,
    write_text,
)
from medistill.runs.comparing.asking import grid_of
from medistill.runs.comparing.grid import Cell, Grid, wanted

IMAGES = 40
CLASSES = ("healthy", "sick")
BASE = {
    "data": {"root": "images", "store": "store"},
    "teacher": {"name": "timm/test_resnet", "weights": "random", "grid": 2},
    "student": {"name": "timm/test_efficientnet"},
    "method": {"name": "rd"},
    "evaluation": {"draws": 20},
}
TUNED = {"method": "full_fine_tuning", "student": "teacher"}


def asked(**compare: Any) -> Recipe:
    return validate({**BASE, "compare": {"methods": ["rd"], "seeds": [0, 1], **compare}})


def grid(folder: Path, **compare: Any) -> Grid:
    return grid_of(asked(**compare), folder)


def table(task: str, wrong: int, seed: int = 0) -> PredictionTable:
    """Answers of which so many are wrong, always on the same images."""
    targets = np.arange(IMAGES) % 2
    mistaken = np.random.default_rng(seed).permutation(IMAGES) < wrong
    sure = np.where(mistaken, 0.2, 0.9)
    probabilities = np.stack([np.where(targets == c, sure, 1 - sure) for c in (0, 1)], 1)
    samples = tuple(f"{task}-{number}" for number in range(IMAGES))
    alone = np.full(IMAGES, -1)
    return PredictionTable(
        task, "test", CLASSES, samples, targets, probabilities.astype(np.float32), alone
    )


def estimate(value: float | None) -> Estimate:
    return {"value": value, "low": None, "high": None}


def leave_run(
    found: Grid, cell: Cell, wrong: int = 10, validation: Mapping[str, float | None] | None = None
) -> RunFolder:
    """A finished run of a cell, with so many mistakes on test."""
    run = RunFolder(found.cells / cell.name)
    values = {"accuracy": 0.5, "balanced_accuracy": 0.5, **(validation or {})}
    judged = {name: estimate(value) for name, value in values.items()}
    tasks = list(found.roots(cell.block.data))
    write_text(run.recipe, dump(found.recipe(cell)))
    write_predictions(run.predictions, [table(task, wrong, cell.seed) for task in tasks])
    test = {task: {"accuracy": estimate(1 - wrong / IMAGES)} for task in tasks}
    write_metrics(run.metrics, {"validation": dict.fromkeys(tasks, judged), "test": test})
    counts = {"test": dict.fromkeys(CLASSES, IMAGES // 2)}
    write_json(run.data, {task: {"classes": CLASSES, "counts": counts} for task in tasks})
    write_json(run.environment, {"seconds": 60.0})
    run.finish()
    return run


def leave_all(
    found: Grid, wrong: Mapping[str, int], failed: Sequence[str] = ()
) -> dict[str, float | None]:
    """Runs of all cells that have no stage, with mistakes by entry; merits of all that ended."""
    merits: dict[str, float | None] = {}
    for cell in wanted(found, {}):
        lost = any(part in cell.name for part in failed)
        if not lost:
            leave_run(found, cell, wrong.get(cell.entry, 10))
        merits[cell.name] = None if lost else 0.5
    return merits
