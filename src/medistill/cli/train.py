"""`medistill train`: from a recipe to a judged, exported, documented student."""

import os
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe; `medistill init` writes one.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override one setting: section.key=value.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: runs/<recipe>).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
) -> None:
    """Train, judge and export a student."""
    from medistill.recipe import read_recipe

    parsed = read_recipe(recipe, settings)
    if "WORLD_SIZE" in os.environ:  # under torchrun: DDP repeats a hint in every process
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

    from medistill.runs.train import train as work

    work(parsed, out or Path("runs") / recipe.stem, resume=resume)
