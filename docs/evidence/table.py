"""Print the table of a grid from its committed cells; of several tasks, a column for each.

python docs/evidence/table.py started
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

CELLS = Path(__file__).parent / "cells"
# Two-sided 95 % quantiles of Student's t by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
METRICS = ("accuracy", "balanced_accuracy", "auroc")


def main(grid: str) -> None:
    """Mean and standard deviation over seeds, and the t-interval of the mean, in percent."""
    found: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for path in sorted(CELLS.glob(f"{grid}-*.json")):
        _, data, *variant, _ = path.stem.split("-")
        found[data, "-".join(variant)].append(json.loads(path.read_text()))
    head = list(next(iter(quantities(cells[0]) for cells in found.values())))
    print(f"| data | variant | seeds | {' | '.join(head)} | seconds |")
    print("|---|---|---|" + "---|" * (len(head) + 1))
    for (data, variant), cells in found.items():
        each = [quantities(cell) for cell in cells]
        columns = [told([values[name] for values in each]) for name in head]
        seconds = round(statistics.median(cell["seconds"] for cell in cells))
        print(f"| {data} | {variant} | {len(cells)} | {' | '.join(columns)} | {seconds} |")


def quantities(cell: dict) -> dict[str, float]:
    """Test metrics in percent: several of one task, or the first of each of several."""
    tasks = cell["metrics"]["test"]
    outlines = all("dice" in task for task in tasks.values())
    asked = ("dice", "surface_dice") if outlines else METRICS
    if len(tasks) == 1:
        (task,) = tasks.values()
        return {metric: 100 * task[metric]["value"] for metric in asked}
    first = "dice" if outlines else "balanced_accuracy"
    each = {name: 100 * task[first]["value"] for name, task in tasks.items()}
    return {**each, "mean": statistics.mean(each.values())}


def told(values: list[float]) -> str:
    """Mean, spread, interval."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    spread = statistics.stdev(values)
    half = STUDENT[len(values) - 1] * spread / len(values) ** 0.5
    return f"{mean:.1f} ± {spread:.1f} ({mean - half:.1f} to {mean + half:.1f})"


if __name__ == "__main__":
    main(sys.argv[1])
