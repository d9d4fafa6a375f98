"""`medistill compare`: which way of making a student is best, and whether that is noise."""

from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from medistill.errors import UserError

LISTS = {
    "data": (str, "Sets of images: names in the recipe, or NAME=FOLDER,..."),
    "methods": (str, "Methods and variants, or `all` (default)."),
    "teachers": (str, "Names in the recipe, run:FOLDER, or NAME=run:FOLDER."),
    "students": (str, "Names in the recipe, or torchvision/..., timm/..."),
    "fractions": (float, "Shares of the training images: 0.1,0.25,1."),
    "seeds": (int, "Of the trainings (default: 0,1,2)."),
}
NUMBERS = {
    "tune": (int, "How many weights each method may choose among, on validation (default: 1)."),
    "jobs": (int, "How many runs work at once (default: 1)."),
    "max_mb": (float, "Name the best student up to this size."),
    "max_ms": (float, "Name the best student up to this latency, of an image or a volume."),
}


def compare(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe; its `compare:` block is read.")],
    out: Annotated[Path | None, typer.Option(help="Folder (default: runs/<recipe>).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override one setting: section.key=value.")
    ] = None,
    **flags: Any,
) -> None:
    """Let methods, teachers, students and sets compete; tell who wins, and how surely."""
    from medistill.recipe import read_recipe
    from medistill.runs.comparing.asking import with_flags

    lists = {name: _parts(name, flags.pop(name)) for name in LISTS}
    asked = {**lists, "tune": flags.pop("tune")}
    parsed = with_flags(read_recipe(recipe, settings), asked)

    from medistill.runs.compare import compare as work

    given = {name: value for name, value in flags.items() if value is not None}
    work(parsed, out or Path("runs") / recipe.stem, **given)


def _parts(name: str, text: str | None) -> tuple[Any, ...] | None:
    """The parts of a list, each of its kind."""
    if text is None:
        return None
    kind, _ = LISTS[name]
    # A folder's own name may hold a comma.
    parts = [text] if name == "data" and Path(text).exists() else text.split(",")
    try:
        found = tuple(kind(part.strip()) for part in parts if part.strip())
    except ValueError:
        raise UserError(f"--{name} {text!r}: write numbers, as in 0,1,2.") from None
    if not found:
        raise UserError(f"--{name} {text!r} names nothing. Leave it out for what the recipe says.")
    return found


def _flag(name: str, kind: type, meaning: str) -> Parameter:
    annotation = Annotated[kind | None, typer.Option(help=meaning)]  # type: ignore[valid-type]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


# Typer reads a signature: the flags are the two tables above rather than a dozen parameters.
_own = [p for p in Signature.from_callable(compare).parameters.values() if p.name != "flags"]
_more = [_flag(name, str, meaning) for name, (_, meaning) in LISTS.items()]
_more += [_flag(name, kind, meaning) for name, (kind, meaning) in NUMBERS.items()]
compare.__signature__ = Signature([*_own, *_more])  # type: ignore[attr-defined]
