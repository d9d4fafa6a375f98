"""`medistill list`: what there is to choose from."""

from enum import StrEnum
from typing import Annotated

import typer


class Shelf(StrEnum):
    """What can be listed."""

    methods = "methods"
    students = "students"
    teachers = "teachers"
    layouts = "layouts"


def listing(what: Annotated[Shelf, typer.Argument(help="What to list.")]) -> None:
    """List methods, students, teachers or layouts, each with one line."""
    from medistill.runs.listing import listing as work

    work(what.value)
