"""`medistill report`: the page of a run."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    against: Annotated[
        list[Path] | None, typer.Option(help="Other runs on the same data to compare with.")
    ] = None,
) -> None:
    """Write RUN/report.html: one page that needs nothing beside it."""
    from medistill.runs.report import report as work

    work(run, against=against or [])
