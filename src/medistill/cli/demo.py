"""`medistill demo`: the whole way in minutes, on images that it makes itself."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("runs/demo"),
) -> None:
    """Make images, pre-train a foundation model, distil it, judge it, export it, use it."""
    from medistill.runs.demo import demo as work

    work(out)
