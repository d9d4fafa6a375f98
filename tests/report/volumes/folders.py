"""Run folders of segmentations, made up: balls that a network outlines well, badly or not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from medistill.case_results import CaseResult, Score, write_cases
from medistill.report.volumes.slices import index_entry, render_slices, shown_cases
from medistill.results import RunFolder, append_jsonl, read_json, write_json, write_text
from tests.report import folders

HIPPOCAMPUS = ("anterior", "posterior")
ABDOMEN = ("liver", "spleen", "left kidney", "right kidney", "pancreas", "gallbladder", "aorta")
TEACHER = {"name": "sat/unet", "weights": "runs/teacher"}
METRICS = ("dice", "surface_dice", "hd95_mm")


def cases(
    task: str, classes: Sequence[str], count: int = 26, *, skill: float = 0.9, seed: int = 0
) -> list[CaseResult]:
    """Scores of a network; the same volumes whatever its skill."""
    facts, mind = np.random.default_rng(sum(task.encode())), np.random.default_rng(seed)
    found = []
    for place in range(count):
        scores = {}
        for order, name in enumerate(classes):
            dice = float(np.clip(skill - 0.04 * order - abs(mind.normal(0, 0.06)), 0, 1))
            truth = float(facts.gamma(6, 0.3 + order))
            said = truth * float(mind.normal(0.97, 0.08))
            scores[name] = Score(dice, min(1.0, dice + 0.06), 4.5 - 4 * dice, truth, said)
        found.append(CaseResult(task, "test", f"{facts.integers(2**62):016x}", place, scores))
    # A lesion that was missed altogether, and an organ that was never there.
    last = dict(found[-1].scores)
    last[classes[-1]] = Score(0.0, 0.0, None, 1.5, 0.0)
    last[classes[0]] = Score(0.0, 0.0, None, 0.0, 2.5)
    return [*found[:-1], CaseResult(task, "test", found[-1].sample, count - 1, last)]


def estimates(found: Sequence[CaseResult], classes: Sequence[str]) -> dict[str, Any]:
    """Metrics such as evaluation writes: means true to the cases, with an interval."""
    means = {}
    for metric in METRICS:
        for name in classes:
            values = [getattr(case.scores[name], metric) for case in found]
            known = [value for value in values if value is not None]
            means[f"{metric}/{name}"] = sum(known) / len(known)
    for metric in METRICS:
        means[metric] = float(np.mean([means[f"{metric}/{name}"] for name in classes]))
    keys = [*METRICS, *(key for key in means if "/" in key)]
    return {
        key: {"value": means[key], "low": means[key] - 0.03, "high": means[key] + 0.02}
        for key in keys
    }


def volume(
    classes: int, *, seed: int = 0, shift: int = 2, shape: tuple[int, int, int] = (48, 44, 20)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image with balls, the label map of them, and one that is a little off."""
    noise = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(side) for side in shape), indexing="ij"), axis=-1)
    truth, image = np.zeros(shape, np.uint8), noise.normal(0, 0.15, shape)
    image += (np.linalg.norm((grid - np.array(shape) / 2) / np.array(shape), axis=-1) < 0.49) * 0.6
    for place in range(classes):
        turn = 2 * np.pi * place / classes
        centre = np.array(shape) * (0.5 + 0.24 * np.array([np.cos(turn), np.sin(turn), 0]))
        inside = np.linalg.norm((grid - centre) * (1, 1, 2), axis=-1) < min(shape[:2]) / 7
        truth[inside] = place + 1
        image[inside] += 0.5 + 0.1 * place
    return image.astype(np.float32), truth, np.roll(truth, shift, axis=seed % 2)


def write_slices(
    run: RunFolder,
    found: Sequence[CaseResult],
    classes: Sequence[str],
    worst: int = 1,
    *,
    start: int = 0,
) -> None:
    """Pictures of balls for the worst cases and a typical one."""
    known = run.slices / "index.json"
    index = read_json(known) if known.exists() else []
    run.slices.mkdir(parents=True, exist_ok=True)
    for shown in shown_cases(found, worst=worst):
        image, truth, prediction = volume(len(classes), seed=len(index))
        file = f"{len(index):03d}.png"
        colours = render_slices(
            image, truth, prediction, classes, (1.0, 1.0, 2.5), run.slices / file
        )
        number = next(place for place, case in enumerate(found, start) if case is shown.case)
        index.append(index_entry(shown, file, colours, number))
    write_json(known, index)


def write_log(run: RunFolder, tasks: Sequence[str], epochs: int = 20) -> None:
    """Losses that fall, and overlap that grows."""
    for epoch in range(1, epochs + 1):
        losses = {"segmentation": 1.2 * np.exp(-epoch / 6), "imitation": 0.4 * np.exp(-epoch / 9)}
        validation = {
            task: {"dice": 0.88 - 0.6 * np.exp(-epoch / (4 + place))}
            for place, task in enumerate(tasks)
        }
        append_jsonl(run.log, {
            "epoch": epoch, "losses": losses, "validation": validation, "seconds": 31.0,
            "best": True,
        })  # fmt: skip


def account(classes: Sequence[str]) -> dict[str, Any]:
    """What is known of a set of volumes."""
    sizes = {"train": 180, "validation": 26, "test": 26}
    counts = {split: dict.fromkeys(classes, size) for split, size in sizes.items()}
    return {
        "kind": "segmentation", "classes": list(classes), "how": "grouped by patient",
        "volumes": sizes, "counts": counts, "findings": [],
    }  # fmt: skip


def config(task: str, classes: Sequence[str]) -> dict[str, Any]:
    """What is said of a deployed segmenter."""
    return {
        "kind": "segmentation", "task": task, "classes": list(classes), "patch": [48, 48, 32],
        "preparation": {"orientation": "RAS", "spacing_mm": [1.0, 1.0, 1.0], "modality": "mr"},
        "volumes": {"train": 180, "validation": 26, "test": 26}, "licences": [],
    }  # fmt: skip


def write_run(
    path: Path, tasks: dict[str, Sequence[str]], *, skill: float = 0.9,
    method: str = "knowledge_decomposition", seed: int = 0, worst: int = 1,
) -> RunFolder:  # fmt: skip
    """A finished run."""
    run = RunFolder(path)
    recipe = folders.recipe(list(tasks), method, TEACHER)
    recipe["student"] = {"name": "sat/unet", "options": {"widths": [16, 32, 64]}}
    recipe["training"] = {"epochs": 20, "select": "dice"}
    write_text(run.recipe, yaml.safe_dump(recipe, sort_keys=False))
    write_json(run.environment, folders.environment(TEACHER))
    write_json(run.data, {task: account(classes) for task, classes in tasks.items()})
    write_log(run, list(tasks))
    found = {task: cases(task, classes, skill=skill, seed=seed) for task, classes in tasks.items()}
    metrics = {task: estimates(found[task], classes) for task, classes in tasks.items()}
    write_json(run.metrics, {"validation": metrics, "test": metrics})
    write_cases(run.cases, [case for some in found.values() for case in some])
    write_json(run.path / "parity.json", {t: {"largest": 3e-6, "pictures": 4} for t in tasks})
    student = {**folders.COST, "seconds_a_volume": 2.1}
    write_json(run.cost, {"student": student, "teacher": None, "ratios": {}})
    start = 0
    for task, classes in tasks.items():
        write_json(run.deployed(task).config, config(task, classes))
        if worst:
            write_slices(run, found[task], classes, worst, start=start)
        start += len(found[task])
    return run


def one_region(path: Path, **changes: Any) -> RunFolder:
    """Two parts of one organ."""
    return write_run(path, {"hippocampus": HIPPOCAMPUS}, **changes)


def three_regions(path: Path) -> RunFolder:
    """Three tasks, one of many organs."""
    tasks = {"hippocampus": HIPPOCAMPUS, "abdomen_mr": ABDOMEN, "heart": ("ventricle", "atrium")}
    return write_run(path, tasks)
