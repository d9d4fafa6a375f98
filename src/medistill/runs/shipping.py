"""From trained weights to what is shipped: calibrated, judged, exported, checked, described."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from medistill.analysis.cost import cost, ratios
from medistill.data.loading import Loader
from medistill.data.opening import Opened
from medistill.data.order import IN_ORDER
from medistill.evaluation.calibration import fit_temperature
from medistill.evaluation.judge import judge
from medistill.evaluation.operating import OperatingPoint, fit_operating_point, positive_class
from medistill.evaluation.predict import Predictions, predict, tabulate
from medistill.export.latency import network_latency
from medistill.export.profile import ImageProfile
from medistill.models.deployed import read_config, save_deployed
from medistill.models.networks import Student
from medistill.recipe import Recipe
from medistill.results import Metrics, PredictionTable, RunFolder, write_json
from medistill.runs.bills import costs_of_several
from medistill.runs.validating import JUDGED
from medistill.types import Batch

PROFILED = 300  # training images whose size and range tell what new images should be like
WORST = 12
JUDGED_SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Judged:
    """A network with what was measured of it.

    Args:
        tables: Its predictions by split.
        temperature: Fitted on validation.
        operating: Fitted on validation; None where no class stands out.
    """

    tables: dict[str, PredictionTable]
    temperature: float
    operating: OperatingPoint | None

    def metrics(self, draws: int) -> dict[str, Any]:
        """Metrics of each split, with intervals."""
        return {
            split: judge(table, self.operating, draws=draws)
            for split, table in self.tables.items()
            if len(table)
        }


def judge_network(
    network: nn.Module, opened: Opened, recipe: Recipe, device: torch.device
) -> Judged:
    """Calibrate a deployed network on validation, then read the test split, once."""
    predictions = {
        split: predict(network, batches(opened, split), device=device)
        for split in JUDGED_SPLITS
        if len(opened.dataset.splits[split])
    }
    return judged(predictions, opened, recipe)


def judged(predictions: dict[str, Predictions], opened: Opened, recipe: Recipe) -> Judged:
    """Temperature, operating point and tables of some predictions."""
    validation = predictions.get("validation")
    temperature = fit_temperature(validation.logits, validation.targets) if validation else 1.0
    tables = {
        split: table_of(found, opened, split, temperature) for split, found in predictions.items()
    }
    positive = positive_class(opened.dataset.task.classes, recipe.evaluation.positive)
    operating = None
    if positive is not None and "validation" in tables:
        operating = fit_operating_point(
            tables["validation"], positive, sensitivity=recipe.evaluation.sensitivity
        )
    return Judged(tables, temperature, operating)


def table_of(
    predictions: Predictions, opened: Opened, split: str, temperature: float
) -> PredictionTable:
    """Predictions with the names of classes, and digests for the names of images."""
    task = opened.dataset.task
    return tabulate(
        predictions,
        task=task.name,
        split=split,
        classes=task.classes,
        digests=opened.digests,
        patients=opened.dataset.patients,
        temperature=temperature,
    )


def batches(opened: Opened, split: str) -> Iterable[Batch]:
    """The images of a split as they are, in order."""
    return Loader([opened.dataset], split, batch_size=JUDGED, order=IN_ORDER).epoch(0)


def merge(parts: Iterable[tuple[str, dict[str, Any]]]) -> Metrics:
    """Metrics of single tasks, by split and then by task."""
    merged: Metrics = {}
    for task, by_split in parts:
        for split, estimates in by_split.items():
            merged.setdefault(split, {})[task] = estimates
    return merged


def deploy(
    student: Student, found: Judged, opened: Opened, run: RunFolder, extra: dict[str, Any]
) -> dict[str, Any]:
    """Write a network with all that a user of it must know; its config is returned."""
    task = opened.dataset.task
    config = {
        "task": task.name,
        "classes": list(task.classes),
        "size": int(opened.dataset.store.images.shape[1]),
        "temperature": found.temperature,
        "threshold": _threshold(found.operating),
        "profile": profile(opened).as_document(),
        "images": {split: len(rows) for split, rows in opened.dataset.splits.items()},
        **extra,
    }
    folder = run.deployed(task.name).path
    save_deployed(student.cpu().eval(), folder, config)
    # As it is written: with the backbone and the normalisation that the student brought.
    return read_config(folder)


def profile(opened: Opened) -> ImageProfile:
    """What the training images are like, from a sample of them as their files hold them."""
    rows = _spread(opened, "train", PROFILED)
    return ImageProfile.of(opened.layout.read(opened.samples[row]) for row in rows)


def pictures(opened: Opened, split: str, count: int) -> list[Any]:
    """Images from all over a split, as their files hold them."""
    return [opened.layout.read(opened.samples[row]) for row in _spread(opened, split, count)]


def save_worst(tables: Sequence[PredictionTable], opened: Sequence[Opened], run: RunFolder) -> None:
    """Save the most confident mistakes on test as small images without a name."""
    run.worst.mkdir(exist_ok=True)
    index: list[dict[str, Any]] = []
    for table, one in zip(tables, opened, strict=True):
        rows = dict(zip(one.digests, range(len(one.digests)), strict=True))
        wrong = np.flatnonzero((table.targets >= 0) & (table.predicted != table.targets))
        sure = table.probabilities[wrong].max(axis=1)
        for place in wrong[np.argsort(-sure)][:WORST].tolist():
            file = f"{len(index) + 1:03d}.png"
            _save_image(one, rows[table.samples[place]], run.worst / file)
            index.append(_mistake(table, place, file))
    write_json(run.worst / "index.json", index)


def save_costs(student: nn.Module, teacher: nn.Module | None, size: int, run: RunFolder) -> None:
    """Measure what the student costs, and the teacher, on this machine's processor.

    Of several tasks the student is the network of the first; all of them follow by name, and
    together.
    """
    own = _cost(student, size)
    whole = _cost(teacher, size) if teacher is not None else None
    write_json(run.cost, {
        "student": own, "teacher": whole, "ratios": ratios(own, whole) if whole else {},
        **costs_of_several(run, size, own),
    })  # fmt: skip


def _spread(opened: Opened, split: str, count: int) -> list[int]:
    """Up to so many rows, evenly from the whole split, which is sorted by class."""
    rows = opened.dataset.splits[split]
    places = np.linspace(0, len(rows) - 1, min(count, len(rows)))
    return [int(row) for row in rows[places.astype(int)]]


def _cost(network: nn.Module, size: int) -> dict[str, Any]:
    latency = network_latency(network.cpu().eval(), size)
    return {
        **cost(network, (3, size, size)).as_dict(),
        "latency_ms_p50": latency.p50_ms,
        "latency_ms_p95": latency.p95_ms,
    }


def _threshold(operating: OperatingPoint | None) -> dict[str, Any] | None:
    if operating is None or operating.threshold is None:
        return None
    point = asdict(operating)
    return {
        "class": point["positive"], "value": point["threshold"], "sensitivity": point["wanted"],
    }  # fmt: skip


def _save_image(one: Opened, row: int, path: Path) -> None:
    pixels = np.asarray(one.dataset.store.images[row])
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)


def _mistake(table: PredictionTable, place: int, file: str) -> dict[str, Any]:
    predicted = int(table.predicted[place])
    return {
        "file": file,
        "task": table.task,
        "target": table.classes[int(table.targets[place])],
        "predicted": table.classes[predicted],
        "probability": float(table.probabilities[place, predicted]),
    }
