"""`check`: all that would spoil a result, before hours of training."""

import csv
from collections.abc import Iterator
from pathlib import Path

from medistill.data.near_copies import contact_sheet, near_copies
from medistill.data.opening import Opened
from medistill.recipe import Recipe
from medistill.results import replacing
from medistill.runs.console import Console
from medistill.runs.images import open_images, say_errors, say_splits, show_findings
from medistill.runs.roots import volume_roots

PAIRS = 60  # on a contact sheet; more would not be looked at


def check(
    recipe: Recipe,
    *,
    listing: Path | None = None,
    sheet: Path | None = None,
    console: Console | None = None,
) -> bool:
    """Print every finding of every root.

    Args:
        recipe: Names the roots and how they are split.
        listing: Where to write which file is which sample of a run (file, digest, split, label);
            it names files, so it stays with the data.
        sheet: Where near copies in different splits are shown side by side; of several roots each
            has its name added.
        console: Where to print.

    Returns:
        Whether nothing was found at which `train` would stop.
    """
    console = console or Console()
    if volume_roots(recipe):
        from medistill.runs.volumes.checking import check_volumes

        return check_volumes(recipe, listing, console)
    opened = open_images(recipe, None, console)
    say_splits(opened, console)
    for one in opened:
        show_findings(one.name, one.findings, console)
        _show_near_copies(one, _sheet_of(one, sheet, alone=len(opened) == 1), console)
    if listing is not None:
        _write_listing(listing, opened)
        console.say(f"which file is which: {listing}")
    return say_errors([f for one in opened for f in one.findings], recipe, console)


def _sheet_of(one: Opened, asked: Path | None, *, alone: bool) -> Path:
    """The file for one root's near copies: of several roots each has its own."""
    name = one.dataset.task.name
    if asked is None:
        return Path(f"near-copies-{name}.png")
    return asked if alone else asked.with_stem(f"{asked.stem}-{name}")


def _show_near_copies(one: Opened, sheet: Path, console: Console) -> None:
    parts = {name: rows.tolist() for name, rows in one.dataset.splits.items()}
    pairs = near_copies(one.entries, parts)[:PAIRS]
    if not pairs:
        return
    read = one.layout.read
    contact_sheet([(read(one.samples[a]), read(one.samples[b])) for a, b in pairs], sheet)
    console.say(f"            shown side by side in {sheet}")


def _write_listing(path: Path, opened: tuple[Opened, ...]) -> None:
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "file", "sample", "split", "label"])
        for one in opened:
            writer.writerows(_lines(one))


def _lines(one: Opened) -> Iterator[list[str]]:
    """Task, file, sample, split and label of every image of a root."""
    where = {row: part for part, rows in one.dataset.splits.items() for row in rows}
    for row, (sample, digest) in enumerate(zip(one.samples, one.digests, strict=True)):
        yield [
            one.dataset.task.name, sample.source, digest, where.get(row, ""), sample.label or "",
        ]  # fmt: skip
