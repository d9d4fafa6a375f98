"""`demo`: the whole way in minutes, offline, on phantoms that it makes itself."""

import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console as Terminal
from rich.table import Table

from medistill.data.phantoms import make_phantoms
from medistill.recipe import Recipe, validate
from medistill.results import Estimate, RunFolder, read_json, read_metrics
from medistill.runs.console import Console
from medistill.runs.predict import predict
from medistill.runs.report import report
from medistill.runs.train import train

SIZE = 64
KNOWN = {"brain_mr": 200, "chest_xray": 200, "abdomen_ct": 200}  # images of each finding
TARGET, LABELLED, TESTED = "breast_us", 60, 120
SHOWN = ("accuracy", "balanced_accuracy", "auroc")


def demo(out: Path) -> None:
    """Pre-train a foundation model on three regions, and distil it for a fourth with few labels.

    A demonstration that was stopped goes on where it stopped; one that is finished is shown again.

    Args:
        out: Everything goes below this folder, the report to `report.html`.
    """
    console, started = Console(), time.monotonic()
    images = _make_images(out / "images", console)
    foundation = _step(1, "a foundation model learns three regions", _foundation(out), out, console)
    console.say(f"   saved in {foundation.path}: any recipe can name it as run:{foundation.path}")
    alone = _step(
        2, "the student alone, on few labels", _student(out, "student_alone"), out, console
    )
    name = "reprogramming_distillation"
    distilled = _step(
        3, "the student beside the foundation model", _student(out, name), out, console
    )
    report(distilled.path, against=[alone.path], console=console)
    shutil.copy(distilled.report, out / "report.html")
    console.say("4. The exported file predicts new images without torch")
    predict(
        distilled.path, [images / TARGET / "test"], out=out / "predictions.csv", console=console
    )
    _print_table(alone, distilled)
    minutes = (time.monotonic() - started) / 60
    console.say(f"Done in {minutes:.1f} minutes. Look at {out / 'report.html'}, then try your own:")
    console.say("  medistill check path/to/images")
    console.say("  medistill init path/to/images --out recipe.yaml")
    console.say("  medistill train recipe.yaml")


def _make_images(folder: Path, console: Console) -> Path:
    """Phantoms of four regions; nothing is made twice."""
    done = folder / "done"
    if not done.exists():
        console.say("0. Making images: four regions, three findings, speckle and noise")
        for region, count in KNOWN.items():
            make_phantoms(folder / region, region, per_class=count, size=SIZE)
        for part, count, seed in (
            ("train", LABELLED, 1),
            ("val", LABELLED, 2),
            ("test", TESTED, 3),
        ):
            make_phantoms(folder / TARGET / part, TARGET, per_class=count, seed=seed, size=SIZE)
        done.touch()
    return folder


def _step(number: int, what: str, recipe: Recipe, out: Path, console: Console) -> RunFolder:
    console.say(f"{number}. {what[0].upper()}{what[1:]}")
    name = "foundation" if number == 1 else recipe.method["name"]
    return train(recipe, out / name, resume=True, console=console)


def _foundation(out: Path) -> Recipe:
    return validate({
        "data": {
            "roots": {region: {"root": str(out / "images" / region)} for region in KNOWN},
            "size": SIZE, "views": 2, "store": str(out / "store"),
        },
        "student": {"name": "timm/resnet10t"},
        "method": {"name": "universal_pretraining"},
        "training": _schedule(epochs=10, learning_rate=2e-3),
    })  # fmt: skip


def _student(out: Path, method: str) -> Recipe:
    return validate({
        "data": {
            "root": str(out / "images" / TARGET), "size": SIZE, "views": 4,
            "store": str(out / "store"),
        },
        "teacher": {"name": f"run:{out / 'foundation'}", "grid": 1},
        "student": {"name": "torchvision/shufflenet_v2_x0_5"},
        "method": {"name": method},
        "training": _schedule(epochs=60, learning_rate=2e-3),
    })  # fmt: skip


def _schedule(**changes: Any) -> dict[str, Any]:
    return {"batch_size": 32, "schedule": "cosine", "warmup": 1, "seed": 0, **changes}


def _print_table(alone: RunFolder, distilled: RunFolder) -> None:
    table = Table(
        title=f"Breast phantoms, {3 * LABELLED} labelled images: test, with 95 % intervals"
    )
    table.add_column("")
    for metric in SHOWN:
        table.add_column(metric.replace("_", " "))
    table.add_column("parameters", justify="right")
    cost = read_json(distilled.cost)
    teacher = distilled.teacher_metrics
    rows = {
        "student alone": (alone.metrics, cost["student"]),
        "student by RD": (distilled.metrics, cost["student"]),
        "foundation model (probe)": (teacher, cost["teacher"]),
    }
    for name, (file, size) in rows.items():
        found = read_metrics(file)["test"][TARGET]
        cells = [_cell(found[metric]) for metric in SHOWN]
        table.add_row(name, *cells, f"{size['parameters'] / 1e6:.2f} M")
    Terminal().print(table)


def _cell(estimate: Estimate) -> str:
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if value is None:
        return "-"
    return (
        f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.2f} to {high:.2f})"
    )
