"""`medistill check`: what is wrong with a folder of images, before hours of training."""

from pathlib import Path
from typing import Annotated

import typer

from medistill.errors import UserError


def check(
    data: Annotated[Path, typer.Argument(help="A folder of images, a file of them, or a recipe.")],
    patient_pattern: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a path.")
    ] = None,
    listing: Annotated[
        Path | None, typer.Option("--list", help="Write which file is which sample, as CSV.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Where near copies are shown (default: near-copies.png).")
    ] = None,
) -> None:
    """Look for what would spoil a result: leaks, copies, conflicts, broken files."""
    from medistill.recipe import read_recipe, validate

    if data.suffix in (".yaml", ".yml"):
        recipe = read_recipe(data)
    elif not data.exists():
        raise UserError(f"No data at {data} (looked for {data.resolve()}).")
    else:
        root = {"root": str(data), "patient_pattern": patient_pattern}
        recipe = validate({"data": root, "method": {"name": "student_alone"}})

    from medistill.runs.check import check as work

    if not work(recipe, listing=listing, sheet=sheet):
        raise typer.Exit(1)
