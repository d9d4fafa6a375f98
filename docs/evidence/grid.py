"""Run a grid of cells, each an ordinary `medistill train`, and keep what each found.

    python docs/evidence/grid.py docs/evidence/reprogramming.yaml --jobs 2

A cell that has its file under `docs/evidence/cells/` is not run again. A grid file names recipes,
variants (overrides by name) and seeds:

    name: reprogramming
    recipes: {covid_ct: recipes/rd-covid-ct.yaml}
    variants: {rd: [], alone: [method.name=student_alone]}
    seeds: [0, 1, 2]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RUNS = Path("runs/evidence")


def main() -> None:
    """Run what is missing of a grid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="cells at once, of one thread each")
    parser.add_argument("--only", default="", help="cells whose name holds this text")
    options = parser.parse_args()
    grid = yaml.safe_load(options.grid.read_text())
    wanted = [cell for cell in cells(grid) if options.only in cell["name"]]
    missing = [cell for cell in wanted if not cell["file"].exists()]
    print(f"{len(wanted)} cells, {len(missing)} to run", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda cell: run(cell, options.jobs), missing))


def cells(grid: dict[str, Any]) -> list[dict[str, Any]]:
    """Every recipe, variant and seed of a grid, seed by seed."""
    found = []
    for seed in grid["seeds"]:
        for data, recipe in grid["recipes"].items():
            for variant, overrides in grid["variants"].items():
                name = f"{grid['name']}-{data}-{variant}-{seed}"
                sets = [*grid.get("all", []), *overrides, f"training.seed={seed}"]
                command = ["medistill", "train", recipe]
                for setting in sets:
                    command += ["--set", setting]
                found.append({
                    "name": name, "file": HERE / "cells" / f"{name}.json", "command": command,
                })  # fmt: skip
    return found


def run(cell: dict[str, Any], jobs: int) -> None:
    """Run one cell and write its file; a failed one is named and left for another day."""
    out = RUNS / cell["name"]
    threads = {"OMP_NUM_THREADS": "1"} if jobs > 1 else {}
    started = time.time()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "medistill"), *cell["command"][1:],
         "--out", str(out), "--resume"],
        env={**os.environ, **threads}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = round(time.time() - started)
    if done.returncode:
        print(f"{cell['name']}: failed\n{done.stdout[-500:]}{done.stderr[-800:]}", flush=True)
        return
    cell["file"].parent.mkdir(parents=True, exist_ok=True)
    cell["file"].write_text(json.dumps(content(cell, out, seconds), indent=1) + "\n")
    test = content(cell, out, seconds)["metrics"]["test"]
    said = {task: round((m.get("accuracy") or m["dice"])["value"], 4) for task, m in test.items()}
    print(f"{cell['name']}: {said} in {seconds} s", flush=True)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def content(cell: dict[str, Any], out: Path, seconds: int) -> dict[str, Any]:
    """What is kept of a run: nothing that names a file or a person."""
    environment = json.loads((out / "environment.json").read_text())
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    teacher = out / "teacher-metrics.json"
    return {
        "command": " ".join(cell["command"]),
        "seconds": seconds,
        "environment": {k: environment[k] for k in ("versions", "processor", "cores", "threads")},
        "recipe": yaml.safe_load((out / "recipe.yaml").read_text()),
        "epochs": [record["epoch"] for record in log if record.get("best")][-1:],
        "last_losses": log[-1]["losses"] if log else {},
        "metrics": brief(json.loads((out / "metrics.json").read_text())),
        "teacher": brief(json.loads(teacher.read_text())) if teacher.exists() else None,
    }


def brief(metrics: dict[str, Any]) -> dict[str, Any]:
    """By split and task, without what is of single classes; five digits."""
    return {
        split: {
            task: {
                name: {key: number and round(number, 5) for key, number in value.items()}
                for name, value in found.items()
                if "/" not in name
            }
            for task, found in tasks.items()
        }
        for split, tasks in metrics.items()
    }


if __name__ == "__main__":
    main()
