"""`medistill analyze`: why a student says what it says."""

from pathlib import Path
from typing import Annotated

import typer


def analyze(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of finished runs on the same images.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where pictures go (default: into the first run).")
    ] = None,
    split: Annotated[str, typer.Option(help="Which images are looked at.")] = "test",
    task: Annotated[
        str | None,
        typer.Option(help="Which task, if the runs have several (default: compare their experts)."),
    ] = None,
    triplets: Annotated[
        int, typer.Option(min=0, help="Planes through three images whose scores are averaged.")
    ] = 500,
    grid: Annotated[
        int | None,
        typer.Option(
            min=2, help="Points along each edge of a plane (default: 5 or, on a GPU, 50)."
        ),
    ] = None,
    plot: Annotated[
        int, typer.Option(min=2, help="Points along each edge of the plane that is drawn.")
    ] = 40,
    overlays: Annotated[
        int, typer.Option(min=0, help="Images whose evidence is drawn, half of them mistakes.")
    ] = 8,
) -> None:
    """Show where the first run looked, and how far all are like their teacher and one another."""
    from medistill.runs.analyze import Depth
    from medistill.runs.analyze import analyze as work

    work(runs, out=out, split=split, task=task, depth=Depth(triplets, grid, plot, overlays))
