"""`report`: the page of a run, alone or against others on the same images."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medistill.errors import UserError
from medistill.evaluation.significance import paired_differences
from medistill.results import PredictionTable, RunFolder, read_predictions, write_json
from medistill.runs.console import Console


def report(
    run: Path | str, *, against: Sequence[Path | str] = (), console: Console | None = None
) -> Path:
    """Write the page of a finished run.

    Args:
        run: Folder of the run.
        against: Other runs on the same images; the page says whether a difference is noise.
        console: Where to say what happens.

    Returns:
        The page.
    """
    folder, others = RunFolder(Path(run)), [RunFolder(Path(other)) for other in against]
    for one in [folder, *others]:
        if not one.finished:
            raise UserError(f"{one.path} is no finished run; `medistill train` finishes it.")
    if others:
        found = {str(other.path): _differences(folder, other) for other in others}
        write_json(folder.differences, found)
    from medistill.report.page import write_page

    page = write_page(folder, others)
    (console or Console()).say(f"report: {page}")
    return page


def _differences(first: RunFolder, second: RunFolder) -> dict[str, Any]:
    """Paired differences on test, by task and metric."""
    theirs = _tested(second)
    return {
        name: {m: asdict(d) for m, d in paired_differences(table, theirs[name]).items()}
        for name, table in _tested(first).items()
        if name in theirs
    }


def _tested(run: RunFolder) -> dict[str, PredictionTable]:
    if not run.predictions.exists():
        return {}
    return {t.task: t for t in read_predictions(run.predictions) if t.split == "test"}
