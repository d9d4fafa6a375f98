"""`medistill export`: one ONNX file that carries its preprocessing."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[
        Path | None, typer.Option(help="The file (default: RUN/deployed/<task>/model.onnx).")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Which task, if the run has several.")] = None,
) -> None:
    """Export a run's deployed network to ONNX, and check the file against torch."""
    from medistill.runs.export import export as work

    work(run, out=out, task=task)
