"""`compare`: many ways of making a student, all but one thing being equal; who wins, and surely."""

from collections.abc import Sequence
from pathlib import Path

from medistill.assemble import method_name
from medistill.errors import Failure, UserError
from medistill.recipe import Recipe, dump
from medistill.report.rivals.account import Account
from medistill.report.rivals.budget import Budget, sentences
from medistill.report.rivals.conclusions import overall
from medistill.report.wording import METRICS, counted, inside
from medistill.results import RunFolder, read_json, read_known, write_text
from medistill.runs.comparing.asking import grid_of
from medistill.runs.comparing.entrants import method_of
from medistill.runs.comparing.grid import Cell, Entry, Grid, Origin
from medistill.runs.comparing.judging import Verdicts
from medistill.runs.comparing.running import Begin, Runs
from medistill.runs.comparing.screening import Absent, screen
from medistill.runs.comparing.writing import write_account, write_csv
from medistill.runs.console import Console


def compare(
    recipe: Recipe,
    out: Path | str,
    *,
    jobs: int = 1,
    max_mb: float | int | None = None,
    max_ms: float | int | None = None,
    console: Console | None = None,
    begin: Begin | None = None,
) -> Path:
    """Run what a recipe's `compare:` block asks for, and tell what may be concluded.

    A comparison that was stopped goes on where it stopped; one that is asked for more runs what is
    missing.

    Args:
        recipe: What all runs share; its `compare:` block says in what they differ.
        out: Folder of the comparison; each run is a folder below `cells/` there.
        jobs: How many runs work at once.
        max_mb: The best student whose weights take no more is named.
        max_ms: The same of the latency of an image, or of a volume.
        console: Where to say what happens.
        begin: How a run is begun; by default in a process of its own.

    Returns:
        The page.

    Raises:
        UserError: Something is wrong with what was asked, or with the folder.
        Failure: Some runs failed, after all others and the page were made.
    """
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: at least 1.")
    console, folder = console or Console(), Path(out)
    grid, absent = screen(grid_of(recipe, folder), console)
    write_text(folder / "recipe.yaml", dump(recipe))
    metric = _metric(recipe, outlines=grid.outlines)
    runs = Runs(grid, jobs, metric, console, begin)
    runs.finish()
    account = _account(recipe, runs, absent, folder)
    write_csv(folder, grid, runs.finished())
    budget = Budget(max_mb, max_ms)
    page = write_account(folder, account, budget)
    for sentence in overall(account):
        console.say(sentence)
    for data, said in sentences(account, budget).items():
        console.say(f"The best on {data} within {budget}: {said}")
    console.say(f"comparison: {page}")
    _refuse_failures(runs, folder)
    return page


def _metric(recipe: Recipe, *, outlines: bool) -> str:
    """What decides, when the recipe says nothing: accuracy, or the overlap of outlines."""
    asked = recipe.compare.metric if recipe.compare else None
    return asked or ("dice" if outlines else "accuracy")


def _refuse_failures(runs: Runs, folder: Path) -> None:
    if runs.failed:
        names = ", ".join(failed.cell for failed in runs.failed)
        raise Failure(
            f"{counted(len(runs.failed), 'run')} failed ({names}); what was printed lies in "
            f"{folder / 'logs'}. The same command tries again."
        )


def _account(recipe: Recipe, runs: Runs, absent: Sequence[Absent], folder: Path) -> Account:
    grid = runs.grid
    verdicts = Verdicts(grid, runs.merits, runs.metric, recipe.evaluation.draws)
    measured = _measured_on(grid, runs.finished())
    return Account(
        name=folder.resolve().name,
        metric=runs.metric,
        seeds=grid.seeds,
        tune=recipe.compare.tune if recipe.compare else 1,
        settings={**_shared(recipe, outlines=grid.outlines), **_staged(grid)},
        standings=verdicts.standings,
        rankings=verdicts.rankings,
        labels={name: entry.label for name, entry in grid.entries.items()},
        own=_own(recipe, grid),
        variants={e.label: _changes(e) for e in grid.entries.values() if e.varies},
        absent=tuple((one.what, one.why) for one in absent),
        failed=tuple((one.cell, one.why) for one in runs.failed),
        machine=measured["machine"] + (f", {runs.jobs} runs at once" if runs.jobs > 1 else ""),
        peak_of=measured["peak_of"],
        recipe=_placeless(recipe, grid),
        reference=grid.reference,
        transfers=verdicts.transfers,
        learnt=_learnt(grid, runs.finished()),
        samples="volumes" if grid.outlines else "images",
    )


def _learnt(grid: Grid, cells: Sequence[Cell]) -> tuple[str, ...]:
    """What runs found of test images that a teacher or a start had learnt from."""
    found = [
        f"{grid.entries[cell.entry].label}: {finding['message']}"
        for cell in cells
        for one in read_json(RunFolder(grid.cells / cell.name).data).values()
        for finding in one.get("findings", [])
        if finding["kind"] == "shared"
    ]
    return tuple(dict.fromkeys(found))


def _placeless(recipe: Recipe, grid: Grid) -> str:
    """The recipe's text without the places of the data: the page travels."""
    text = dump(recipe)
    places = (Path(str(r["root"])) for data in grid.sets for r in grid.roots(data).values())
    for place in filter(Path.is_absolute, places):
        text = text.replace(str(place), f".../{place.name}")
    return text


def _own(recipe: Recipe, grid: Grid) -> str:
    """The recipe's own method; where it does not compete, the last that does."""
    own = method_name(recipe)
    return own if own in grid.entries else list(grid.entries)[-1]


def _changes(entry: Entry) -> str:
    """What a variant says, in a line."""
    after = [f"after {entry.after}"] if entry.after else []
    starts = dict.fromkeys(_start(o) for o in entry.origins.values() if o.student)
    return "; ".join([*after, *entry.overrides, *starts])


def _start(origin: Origin) -> str:
    """A run that a student starts from, without the place where it lies, and the part of it."""
    assert origin.student is not None
    task = origin.student.get("task")
    name = Path(str(origin.student["name"])).name
    return f"from {name}, {task}" if task else f"from {name}"


def _shared(recipe: Recipe, *, outlines: bool) -> dict[str, str]:
    """What is equal for all, in words."""
    training, data = recipe.training, recipe.data
    sides = " x ".join(map(str, data.patch)) + " voxels" if data.patch else "the size of the data"
    pictures = f"of {data.size} pixels in {counted(data.views, 'view')}"
    return {
        **({"patches": f"of {sides}"} if outlines else {"images": pictures}),
        "training": f"{counted(training.epochs, 'epoch')}, batch {training.batch_size}",
        "optimiser": f"{training.optimizer} at {training.learning_rate:g}, {training.schedule}",
        "checkpoint": f"by {inside(training.select)} on validation"
        if training.select in METRICS
        else f"the {training.select}",
    }


def _staged(grid: Grid) -> dict[str, str]:
    """Whose student begins to learn only after a stage without it, which no other has."""
    labels = [e.label for e in grid.entries.values() if method_of(e.method).stages > 1]
    what = "with a stage of as many epochs before the student's:"
    return {what: ", ".join(labels)} if labels else {}


def _measured_on(grid: Grid, cells: Sequence[Cell]) -> dict[str, str]:
    """What times and memory are of, as the first run says it."""
    found = {"machine": "this machine", "peak_of": "the process"}
    for run in (RunFolder(grid.cells / cell.name) for cell in cells[:1]):
        environment = read_json(run.environment)
        machine = environment.get("accelerator") or environment.get("processor")
        told = {"machine": machine, "peak_of": read_known(run.expense).get("peak_of")}
        found |= {name: value for name, value in told.items() if value}
    return found
