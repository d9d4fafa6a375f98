"""`medistill list`: what there is to choose from."""

from enum import Enum
from typing import Annotated

import typer


class Shelf(str, Enum):
    """What can be listed."""

    methods = "methods"
    students = "students"
    teachers = "teachers"
    layouts = "layouts"


def listing(what: Annotated[Shelf, typer.Argument(help="What to list.")]) -> None:
    """List methods, students, teachers or layouts, each with one line."""
    from medistill.runs.listing import listing as work

    work(what.value)
