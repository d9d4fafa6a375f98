"""`medistill init`: a commented recipe to start from."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    data: Annotated[Path, typer.Argument(help="Your folder of images.")],
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("recipe.yaml"),
) -> None:
    """Write a commented recipe for a folder of images."""
    from medistill.runs.init import init as work

    work(data, out)
