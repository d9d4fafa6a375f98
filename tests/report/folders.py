"""Run folders as training leaves them, made up: whole, interrupted, of one task or several."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from medistill.results import (
    PredictionTable,
    RunFolder,
    append_jsonl,
    write_json,
    write_predictions,
    write_text,
)

CT = ("COVID", "NonCOVID")
BLOOD = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
COST = {"parameters": 1_255_654, "macs": 38_200_000, "convolution_macs": 37_100_000,
        "bytes": 5_146_000, "flops": 76_400_000, "latency_ms_p50": 2.91,
        "latency_ms_p95": 3.4}  # fmt: skip
TEACHER_COST = {"parameters": 2_223_872, "macs": 300_800_000, "convolution_macs": 299_500_000,
                "bytes": 9_031_000, "flops": 601_600_000, "latency_ms_p50": 11.8,
                "latency_ms_p95": 13.2}  # fmt: skip
FINDINGS = [
    {"severity": "warning", "kind": "near copies",
     "message": "6 pairs of near copies across train and test"},
    {"severity": "note", "kind": "sizes", "message": "sizes from 119 x 180 to 288 x 415"},
]  # fmt: skip


def table(
    classes: Sequence[str] = CT, count: int = 203, task: str = "covid_ct", *,
    split: str = "test", skill: float = 1.3, seed: int = 0,
) -> PredictionTable:  # fmt: skip
    """Predictions of a network that knows something; the same samples whatever its skill."""
    facts, mind = np.random.default_rng(sum(split.encode())), np.random.default_rng(seed)
    targets = facts.integers(0, len(classes), count)
    logits = mind.normal(0, 1, (count, len(classes))) + skill * np.eye(len(classes))[targets]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    samples = tuple(f"{number:016x}" for number in facts.integers(0, 2**60, count))
    return PredictionTable(
        task, split, tuple(classes), samples, targets.astype(np.int64),
        probabilities.astype(np.float32), np.full(count, -1),
    )  # fmt: skip


def first(table: PredictionTable, count: int) -> PredictionTable:
    """The first rows of a table."""
    return replace(
        table, samples=table.samples[:count], targets=table.targets[:count],
        probabilities=table.probabilities[:count], groups=table.groups[:count],
    )  # fmt: skip


def estimates(table: PredictionTable, shift: float = 0.0) -> dict[str, dict[str, float | None]]:
    """Metrics such as evaluation writes: some true to the table, all with an interval."""
    right = table.predicted == table.targets
    values = {
        "accuracy": right.mean(), "balanced_accuracy": right.mean() - 0.004,
        "macro_f1": right.mean() - 0.01, "auroc": right.mean() + 0.07,
        "average_precision": right.mean() + 0.05, "expected_calibration_error": 0.061,
        "negative_log_likelihood": 0.532, "brier": 0.178,
    }  # fmt: skip
    for index, name in enumerate(table.classes):
        own = table.targets == index
        values[f"sensitivity/{name}"] = right[own].mean() if own.any() else 0.0
        values[f"specificity/{name}"] = (
            (table.predicted[~own] != index).mean() if not own.all() else 0.0
        )
    if len(table.classes) == 2:
        values |= {"sensitivity_at_threshold": 0.939, "specificity_at_threshold": 0.41}
    return {name: _estimate(float(value) + shift) for name, value in values.items()}


def _estimate(value: float) -> dict[str, float | None]:
    return {"value": value, "low": max(0.0, value - 0.061), "high": min(1.0, value + 0.058)}


def data(classes: Sequence[str]) -> dict[str, Any]:
    """The account of a data set."""
    sizes = {"train": 212, "validation": 59, "test": 101}
    counts = {
        split: {name: size - 7 * place for place, name in enumerate(classes)}
        for split, size in sizes.items()
    }
    return {"classes": list(classes), "how": "official", "counts": counts, "findings": FINDINGS}


def recipe(tasks: Sequence[str], method: str, teacher: Mapping[str, Any] | None) -> dict[str, Any]:
    """A resolved recipe."""
    roots = {task: {"root": f"../shared/data/{task}", "layout": "auto"} for task in tasks}
    return {
        "data": {"roots": roots, "size": 112, "views": 32},
        "teacher": dict(teacher) if teacher else None,
        "student": {"name": "torchvision/shufflenet_v2_x1_0", "weights": "random"},
        "method": {"name": method, "temperature": 4.0},
        "training": {"epochs": 25, "learning_rate": 0.001, "select": "balanced_accuracy"},
    }


def environment(teacher: Mapping[str, Any] | None, *, random: bool = False) -> dict[str, Any]:
    """Versions and hardware."""
    known = (
        {"name": teacher["name"], "licence": "Apache-2.0", "random": random} if teacher else None
    )
    return {
        "versions": {"python": "3.11.2", "medistill": "0.1.0", "torch": "2.15.0"},
        "system": "Linux x86_64", "processor": "Some Processor 3000", "cores": 2, "threads": 2,
        "accelerator": None, "weights": {"teacher": "ab" * 32, "student": None},
        "data": {"covid_ct": "cd" * 32}, "teacher": known, "seconds": 1234.5,
    }  # fmt: skip


def write_log(run: RunFolder, tasks: Sequence[str], epochs: int = 25, terms: int = 4) -> None:
    """Losses that fall and a metric that rises and falls again, with some noise."""
    noise = np.random.default_rng(1)
    names = ["student", "reprogrammed", "logits", "geometry"][:terms]
    best = 0.0
    for epoch in range(1, epochs + 1):
        fading = 1 - epoch / 25
        falls = [0.7, 0.5, 0.9 * fading, 0.4 * fading]
        losses = {
            name: 0.05 + fall * np.exp(-epoch / 12) + noise.normal(0, 0.01)
            for name, fall in zip(names, falls, strict=False)
        }
        score = 0.55 + 0.2 * np.sin(epoch / 12) + noise.normal(0, 0.015)
        validation = {
            task: {"accuracy": score + 0.01, "balanced_accuracy": score - 0.03 * place}
            for place, task in enumerate(tasks)
        }
        append_jsonl(run.log, {
            "epoch": epoch, "losses": losses, "validation": validation, "learning_rate": 1e-3,
            "seconds": 7.1, "best": bool(score > best),
        })  # fmt: skip
        best = max(best, score)


def write_worst(run: RunFolder, table: PredictionTable, count: int = 6) -> None:
    """Pictures of nothing, with what was said of them."""
    wrong = np.flatnonzero(table.predicted != table.targets)[:count]
    index = []
    run.worst.mkdir(parents=True)
    for number, place in enumerate(wrong.tolist(), start=1):
        y, x = np.mgrid[:64, :64] / 32 - 1
        grey = 255 * np.exp(-((x / 0.7) ** 2 + (y * (1 + number / 9)) ** 2) * 2)
        grey += np.random.default_rng(number).normal(0, 12, grey.shape)
        file = f"{number:03d}.png"
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(run.worst / file)
        called = int(table.predicted[place])
        index.append({
            "file": file, "task": table.task, "target": table.classes[int(table.targets[place])],
            "predicted": table.classes[called],
            "probability": float(table.probabilities[place, called]),
        })  # fmt: skip
    write_json(run.worst / "index.json", index)


TEACHER = {"name": "timm/mobilenetv2_100", "weights": "imagenet.safetensors", "grid": 4}


def write_run(
    path: Path, tables: Sequence[PredictionTable], *, method: str = "reprogramming_distillation",
    teacher: Mapping[str, Any] | None = TEACHER, random: bool = False,
) -> RunFolder:  # fmt: skip
    """A finished run with these test predictions."""
    run, tasks = RunFolder(path), [one.task for one in tables]
    write_text(run.recipe, yaml.safe_dump(recipe(tasks, method, teacher), sort_keys=False))
    write_json(run.environment, environment(teacher, random=random))
    write_json(run.path / "data.json", {one.task: data(one.classes) for one in tables})
    write_log(run, tasks, terms=4 if teacher else 1)
    found = {one.task: estimates(one) for one in tables}
    write_json(run.metrics, {"validation": found, "test": found})
    write_predictions(run.predictions, tables)
    for one in tables:
        write_json(run.deployed(one.task).config, config(one))
    write_json(run.path / "parity.json", {t: {"largest": 2.4e-7, "pictures": 16} for t in tasks})
    write_worst(run, tables[0])
    _write_teacher(run, tables, teacher)
    return run


def config(table: PredictionTable) -> dict[str, Any]:
    """What is said of a deployed network."""
    point = {"class": table.classes[0], "value": 0.31, "sensitivity": 0.95}
    return {
        "task": table.task, "classes": list(table.classes), "size": 112, "temperature": 1.32,
        "threshold": point if len(table.classes) == 2 else None,
    }  # fmt: skip


def _write_teacher(
    run: RunFolder, tables: Sequence[PredictionTable], teacher: Mapping[str, Any] | None
) -> None:
    ratios = {key: value / TEACHER_COST[key] for key, value in COST.items()}
    costs = {"student": COST, "teacher": TEACHER_COST, "ratios": ratios}
    write_json(run.cost, costs if teacher else {"student": COST, "teacher": None, "ratios": {}})
    if teacher and len(tables) == 1:
        found = {tables[0].task: estimates(tables[0], shift=-0.041)}
        write_json(run.path / "teacher-metrics.json", {"validation": found, "test": found})


def write_differences(run: RunFolder, name: str, task: str) -> None:
    """One difference beyond noise, and two within."""
    found = {
        "accuracy": {"value": 0.034, "low": -0.012, "high": 0.081, "p": 0.143},
        "balanced_accuracy": {"value": 0.031, "low": -0.016, "high": 0.079, "p": 0.201},
        "auroc": {"value": 0.042, "low": 0.008, "high": 0.077, "p": 0.0180},
    }
    write_json(run.path / "differences.json", {name: {task: found}})


def binary(path: Path, **changes: Any) -> RunFolder:
    """Two classes, a teacher, an operating point."""
    return write_run(path, [table()], **changes)


def four_classes(path: Path) -> RunFolder:
    """Four classes and no teacher."""
    tables = [table(BLOOD, 400, "blood_cells", skill=2.0)]
    return write_run(path, tables, method="student_alone", teacher=None)


def several_tasks(path: Path) -> RunFolder:
    """Three tasks and one teacher that had learned nothing."""
    tables = [table(), table(BLOOD, 400, "blood_cells", skill=2.0), table(count=90, task="busi")]
    return write_run(path, tables, random=True)


def interrupted(path: Path) -> RunFolder:
    """A run that was killed in its fourth epoch."""
    run = RunFolder(path)
    write_text(run.recipe, yaml.safe_dump(recipe(["covid_ct"], "logit_distillation", TEACHER)))
    write_json(run.path / "data.json", {"covid_ct": data(CT)})
    write_log(run, ["covid_ct"], epochs=3)
    return run
