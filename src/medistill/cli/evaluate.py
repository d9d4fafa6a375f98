"""`medistill evaluate`: judge a finished run again, on other data too."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from medistill.errors import UserError


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Other images (external validation) (default: the run's own)."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which split (default: test; all images of other data).")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="How the other data call the classes: mine=theirs,...")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Which task, if the run has several.")] = None,
    modality: Annotated[
        Literal["ct", "mr"] | None,
        typer.Option(
            help="What other scans are, where CT and MR were trained on and no file tells."
        ),
    ] = None,
) -> None:
    """Judge a run's deployed network, and print its metrics with intervals."""
    pairs = _pairs(classes) if classes else {}

    from medistill.runs.evaluate import evaluate as work

    work(run, data=data, split=split, classes=pairs, task=task, modality=modality)


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(map(all, pairs)):
        raise UserError(f"--classes {text!r}: write it as mine=theirs,mine=theirs.")
    return {mine.strip(): theirs.strip() for mine, _, theirs in pairs}
