"""`report`: the page of a run, alone or against others on the same images."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medistill.case_results import CaseResult, read_cases
from medistill.errors import UserError
from medistill.evaluation.significance import paired_differences
from medistill.evaluation.volume_differences import paired_case_differences
from medistill.report.page import write_page
from medistill.results import PredictionTable, RunFolder, read_predictions, write_json
from medistill.runs.console import Console
from medistill.runs.refusing import refuse_unfinished


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
    refuse_unfinished([folder, *others])
    console = console or Console()
    if others:
        found = {str(other.path): _compared(folder, other, console) for other in others}
        write_json(folder.differences, found)
    page = write_page(folder, others)
    console.say(f"report: {page}")
    return page


def _compared(first: RunFolder, second: RunFolder, console: Console) -> dict[str, Any]:
    """Differences to another run; none where the two judged other images, as the page says."""
    try:
        return _differences(first, second)
    except UserError as reason:
        console.warn(f"{second.path}: {reason}")
        return {}


def _differences(first: RunFolder, second: RunFolder) -> dict[str, Any]:
    """Paired differences on test, by task and metric."""
    tables, cases = _tested(second), _outlined(second)
    found = {
        name: paired_differences(table, tables[name])
        for name, table in _tested(first).items()
        if name in tables
    }
    found |= {
        name: paired_case_differences(own, cases[name])
        for name, own in _outlined(first).items()
        if name in cases
    }
    return {name: {m: asdict(d) for m, d in by.items()} for name, by in found.items()}


def _tested(run: RunFolder) -> dict[str, PredictionTable]:
    if not run.predictions.exists():
        return {}
    return {t.task: t for t in read_predictions(run.predictions) if t.split == "test"}


def _outlined(run: RunFolder) -> dict[str, list[CaseResult]]:
    """The tested cases of a segmentation, by task."""
    found: dict[str, list[CaseResult]] = {}
    for case in read_cases(run.cases) if run.cases.exists() else []:
        if case.split == "test":
            found.setdefault(case.task, []).append(case)
    return found
