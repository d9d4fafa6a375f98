"""The images of a run: opened, looked through, and refused where they would spoil the result."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from medistill.assemble import method_class, method_name, open_layouts, split_rules
from medistill.data.findings import Finding
from medistill.data.opening import Opened, open_dataset
from medistill.data.order import Order
from medistill.errors import UserError
from medistill.recipe import Recipe
from medistill.results import RunFolder
from medistill.runs.console import Console

ENOUGH = 8  # images of a task in a batch: below, its batch norms estimate from next to nothing
SHOWN = 3  # items of a finding on the screen; `medistill check` shows them all


def open_images(recipe: Recipe, run: RunFolder | None, console: Console) -> tuple[Opened, ...]:
    """Every root of a recipe: decoded once, split, and looked through for traps.

    Args:
        recipe: Names the roots.
        run: Its saved splits are used again, if it has any.
        console: Shows the progress of decoding.
    """
    saved = run.splits if run is not None and run.splits.exists() else None
    folder = writable(recipe.data.store)
    opened = []
    for name, (layout, samples) in open_layouts(recipe).items():
        with counting(console, f"decoding {name}", len(samples)) as on_progress:
            one = open_dataset(
                name,
                layout,
                samples,
                size=recipe.data.size,
                rules=split_rules(recipe),
                folder=folder,
                saved_splits=saved,
                on_progress=on_progress,
            )
        opened.append(one.within(recipe.data.roots[name].region))
    return tuple(opened)


def say_splits(opened: Sequence[Opened], console: Console) -> None:
    """One line for each root: how many images, and how they are divided."""
    for one in opened:
        counts = ", ".join(f"{part} {len(rows)}" for part, rows in one.dataset.splits.items())
        name = one.dataset.task.name
        console.say(f"{name}: {len(one.samples)} images ({counts}; {one.how})")


def refuse_or_warn(opened: Sequence[Opened], recipe: Recipe, console: Console) -> None:
    """Say every finding; stop at what would make the result wrong.

    Raises:
        UserError: An image or a patient stands in two splits of ours, or a file cannot be read.
    """
    for one in opened:
        heed(one.dataset.task.name, one.findings, recipe, console)


def warn_of_small_shares(opened: Sequence[Opened], recipe: Recipe, console: Console) -> None:
    """Say which tasks have few images in a batch, where each trains a network on its own alone."""
    if len(opened) < 2 or not method_class(recipe).apart:
        return
    sizes = [len(one.dataset.splits["train"]) for one in opened]
    shares = _shares(sizes, recipe)
    few = [
        f"{one.dataset.task.name} ({share:.1f})"
        for one, share in zip(opened, shares, strict=True)
        if round(share) < ENOUGH
    ]
    if few:
        even = recipe.data.task_sampling == "balanced"
        way_out = "" if even else "data.task_sampling: square_root or balanced, or "
        console.warn(
            f"{method_name(recipe)} trains a network of its own for each task, on its share of a "
            f"batch alone, and some have fewer than {ENOUGH} images there: {', '.join(few)}. Set "
            f"{way_out}a larger training.batch_size."
        )


def _shares(sizes: Sequence[int], recipe: Recipe) -> list[float]:
    """How many images of each task a batch has, on the average over an epoch."""
    tasks = np.repeat(np.arange(len(sizes)), sizes)
    samples = np.arange(len(tasks))
    order = Order(task_sampling=recipe.data.task_sampling, shuffle=False)
    drawn = np.bincount(tasks[order.epoch(0, samples, tasks, tasks)], minlength=len(sizes))
    batch = min(recipe.training.batch_size, len(samples))
    return [batch * count / max(1, len(samples)) for count in drawn.tolist()]


def heed(name: str, findings: Sequence[Finding], recipe: Recipe, console: Console) -> None:
    """Likewise of one root, by its name."""
    for finding in findings:
        if stops(finding, recipe):
            raise UserError(f"{name}: {_told(finding)}. {_way_out(finding)}")
        if finding.severity != "note":
            console.warn(f"{name}: {_told(finding)}")


def show_findings(name: str, findings: Sequence[Finding], console: Console) -> None:
    """Every finding of a root with all of its items."""
    for finding in findings:
        console.say(f"{finding.severity:8}{name}: {finding.message}")
        for item in finding.items:
            console.say(f"            {item}")


def say_errors(findings: Sequence[Finding], recipe: Recipe, console: Console) -> bool:
    """Say how many findings would stop a training, and whether none would."""
    errors = sum(stops(finding, recipe) for finding in findings)
    told = f"{errors} error{'s' if errors > 1 else ''}"
    console.say(told if errors else "nothing at which training would stop")
    return not errors


def writable(store: Path) -> Path:
    """The folder of decoded images; a home that cannot be written is the user's to replace."""
    try:
        folder = store.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # the latter: nobody has this home
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"data.store {store} cannot be written ({why}). Name another folder: data.store."
        ) from error
    return folder


def stops(finding: Finding, recipe: Recipe) -> bool:
    """Whether a training stops at a finding: an error that the recipe does not allow."""
    allowed = finding.kind == "unreadable" and recipe.data.skip_unreadable
    return finding.severity == "error" and not allowed


def _told(finding: Finding) -> str:
    shown = "; ".join(finding.items[:SHOWN])
    more = f"; and {len(finding.items) - SHOWN} more" if len(finding.items) > SHOWN else ""
    return f"{finding.message} ({shown}{more})" if shown else finding.message


def _way_out(finding: Finding) -> str:
    if finding.kind == "unreadable":
        return "Mend them, or leave them out with data.skip_unreadable: true."
    return "`medistill check` lists them all."


@contextmanager
def counting(console: Console, stage: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """Follow a stage that counts what is done, and of how many."""
    with console.track(stage, total) as advance:
        yield lambda done, _: advance(done, "")
