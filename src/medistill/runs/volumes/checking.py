"""`check` on volumes: all that would spoil a result, before hours of training."""

import csv
from collections.abc import Sequence
from pathlib import Path

from medistill.data.volumes.opening import OpenedVolumes
from medistill.recipe import Recipe
from medistill.results import replacing
from medistill.runs.console import Console
from medistill.runs.images import say_errors, show_findings
from medistill.runs.roots import volume_roots
from medistill.runs.volumes.roots import open_roots, say_splits
from medistill.runs.volumes.sizing import median_shape


def check_volumes(recipe: Recipe, listing: Path | None, console: Console) -> bool:
    """Print every finding of every root; see `check`."""
    opened = open_roots(recipe, volume_roots(recipe), None, console)
    say_splits(opened, console)
    for one in opened:
        sides = " x ".join(map(str, median_shape([one.dataset])))
        console.say(
            f"{one.name}: {', '.join(one.dataset.task.classes)}; {sides} voxels in the middle"
        )
        show_findings(one.name, one.findings, console)
    if listing is not None:
        _write_listing(listing, opened)
        console.say(f"which file is which: {listing}")
    return say_errors([f for one in opened for f in one.findings], recipe, console)


def _write_listing(path: Path, opened: Sequence[OpenedVolumes]) -> None:
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "file", "sample", "split"])
        for one in opened:
            where = {row: part for part, rows in one.dataset.splits.items() for row in rows}
            for row, (case, digest) in enumerate(zip(one.cases, one.digests, strict=True)):
                writer.writerow([one.name, case.image, digest, where.get(row, "")])
