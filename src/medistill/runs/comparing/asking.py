"""What is asked for: the recipe's `compare:` block, and the flags that override it."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from medistill.assemble import method_class
from medistill.documents import Document
from medistill.errors import UserError
from medistill.recipe import Compare, Recipe, dump
from medistill.report.wording import METRICS, counted, network
from medistill.results import CELLS
from medistill.runs.comparing.entrants import ALL, entries, reference_of, trains_several
from medistill.runs.comparing.grid import ROOTS, Block, Cell, Grid
from medistill.runs.comparing.origins import pretrained

NAMED = ("data", "teachers", "students")


def with_flags(recipe: Recipe, flags: Mapping[str, Any]) -> Recipe:
    """The recipe with its comparison overridden by what was said on the command line.

    Args:
        recipe: Its block says what no flag does.
        flags: By key of the block; None is not said. `data`, `teachers` and `students` list names
            of the block or of the recipe's own, `name=value`, or values alone; `methods` may name
            variants and runs too.
    """
    asked = recipe.compare or Compare()
    said = {key: value for key, value in flags.items() if value is not None}
    for key in NAMED:
        if key in said:
            said[key] = _named(key, said[key], {**_owned(recipe, key), **getattr(asked, key)})
    if "methods" in said:
        said |= _competing(asked, tuple(said["methods"]))
    return recipe.model_copy(update={"compare": asked.model_copy(update=said)})


def grid_of(recipe: Recipe, folder: Path) -> Grid:
    """The grid that a recipe asks for, before anything is known of what can run.

    Args:
        recipe: With its `compare:` block; what that leaves out is the recipe's own.
        folder: Of the comparison.

    Raises:
        UserError: The block names something that nobody knows.
    """
    asked = recipe.compare or Compare()
    _refuse_unknown_metric(asked.metric)
    base: Document = yaml.safe_load(dump(recipe))
    sets = {name: _set(value) for name, value in asked.data.items()} or _own(recipe, base)
    several = _several(sets)
    teachers = _sections(asked.teachers, base["teacher"])
    students = _sections(asked.students, base["student"])
    known = entries(recipe, asked, several=several)
    grid = Grid(
        base=base,
        sets=sets,
        teachers=teachers,
        students=students,
        blocks=tuple(_blocks(recipe, asked, sets, teachers, students)),
        entries={**known, **pretrained(recipe, asked, sets, known)},
        seeds=tuple(dict.fromkeys(asked.seeds)),
        cells=folder / CELLS,
        reference=reference_of(several),
    )
    _refuse_shared_folders(grid)
    return grid


def _blocks(
    recipe: Recipe,
    asked: Compare,
    sets: Mapping[str, Document],
    teachers: Mapping[str, Document],
    students: Mapping[str, Document],
) -> Iterator[Block]:
    """All combinations, in the order of the tables."""
    for fraction in dict.fromkeys(asked.fractions) or (recipe.data.fraction,):
        for data in sets:
            for name, student in students.items():
                for start in dict.fromkeys(asked.starts) or (student.get("start"),):
                    for teacher in teachers or (None,):
                        yield Block(data, teacher, name, start, fraction)


def _refuse_shared_folders(grid: Grid) -> None:
    """Two runs in one folder would be one run, and stand in the tables as both."""
    known: dict[str, Cell] = {}
    for block, entry in grid.competing():
        cell = Cell(entry.alone(block), entry.name, grid.seeds[0])
        other = known.setdefault(cell.name, cell)
        if cell != other:
            both = " and ".join(dict.fromkeys(_different(cell, other)))
            raise UserError(
                f"compare: {both} would share the folder cells/{cell.name}. Give one of them "
                "another name."
            )


def _different(cell: Cell, other: Cell) -> Iterator[str]:
    """What two cells call the things in which they differ."""
    for one, two in zip(_said(cell), _said(other), strict=True):
        if one != two:
            yield from (repr(two), repr(one))


def _said(cell: Cell) -> tuple[object, ...]:
    return (*vars(cell.block).values(), cell.entry)


def _refuse_unknown_metric(metric: str | None) -> None:
    # Of a single class, or at a threshold that each run fits for itself, means say little.
    # Nor does every method have one head.
    apart = ("sensitivity", "specificity", "unified")
    known = [key for key in METRICS if not key.startswith(apart)]
    if metric is not None and metric not in known:
        close = get_close_matches(metric, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"compare.metric {metric!r} is unknown.{hint} Known: {', '.join(known)}.")


def _named(flag: str, texts: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a flag by name.

    Raises:
        UserError: Two are called the same, so that one would be lost.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, value = _chosen(flag, text, known)
        if name in found:
            raise UserError(f"--{flag} {text}: {name} is there already. Name them: NAME=VALUE.")
        found[name] = value
    return found


def _chosen(flag: str, text: str, known: Mapping[str, Any]) -> tuple[str, Any]:
    """A part of a flag: a name that is known, `name=value`, or a value alone."""
    name, equals, value = text.partition("=")
    # A folder's own name may hold a sign of equality: then it stands behind a slash, or is there.
    if not equals or "/" in name or "\\" in name or (flag == "data" and Path(text).exists()):
        return (text, known[text]) if text in known else (network(text.rstrip("/")), text)
    described = known.get(name)
    if flag != "data" or not isinstance(described, Mapping):
        return name, value
    if ROOTS in described:
        raise UserError(f"--data {text}: {name} has several roots. Write their places in a recipe.")
    # Another place for a set that is described: its layout and patients stay.
    return name, {**described, "root": value}


def _competing(asked: Compare, names: tuple[str, ...]) -> dict[str, Any]:
    """The methods, variants and runs that a flag names, with what the variants come after."""
    if ALL in names:
        return {"methods": tuple(n for n in names if n not in {*asked.variants, *asked.pretrained})}
    kept = _with_earlier(asked.variants, names)
    stages = [said.get("after") for name, said in asked.variants.items() if name in kept]
    others = {*asked.variants, *asked.pretrained}
    methods = [name for name in (*stages, *names) if name and name not in others]
    return {
        "methods": tuple(dict.fromkeys(methods)),
        "variants": {name: said for name, said in asked.variants.items() if name in kept},
        "pretrained": {name: said for name, said in asked.pretrained.items() if name in names},
    }


def _with_earlier(variants: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> set[str]:
    """The variants among some names, and those that they come after."""
    kept, waiting = set(), [name for name in names if name in variants]
    while waiting:
        name = waiting.pop()
        kept.add(name)
        before = str(variants[name].get("after") or "")
        waiting += [before] if before in variants and before not in kept else []
    return kept


def _sections(given: Mapping[str, Any], own: Document | None) -> dict[str, Document]:
    """Sections by name; the recipe's own where the block names none."""
    if not given:
        return {} if own is None else {network(own["name"]): own}
    return {name: {"name": v} if isinstance(v, str) else dict(v) for name, v in given.items()}


def _owned(recipe: Recipe, key: str) -> dict[str, Document]:
    """What the recipe itself has of a key of the block, by the names that tables give it."""
    base: Document = yaml.safe_load(dump(recipe))
    if key == "data":
        return {**base["data"]["roots"], **_own(recipe, base)}
    return _sections({}, base[key.removesuffix("s")])


def _own(recipe: Recipe, base: Document) -> dict[str, Document]:
    """The recipe's own roots: one set where its method trains them together, else one each."""
    roots: dict[str, Document] = base["data"]["roots"]
    together = len(roots) > 1 and trains_several(method_class(recipe))
    return {counted(len(roots), "task"): {ROOTS: roots}} if together else roots


def _set(value: Any) -> Document:
    if isinstance(value, str | Path):
        return {"root": str(value)}
    if ROOTS in value:
        return {**value, ROOTS: {name: _set(root) for name, root in value[ROOTS].items()}}
    return dict(value)


def _several(sets: Mapping[str, Document]) -> bool:
    """Whether the runs train several tasks together.

    Raises:
        UserError: Some do and some do not: there is no method that competes in both.
    """
    kinds = {ROOTS in found for found in sets.values()}
    if len(kinds) > 1:
        alone = next(name for name, found in sets.items() if ROOTS not in found)
        raise UserError(
            f"compare.data: {alone} is one task, but other sets have `roots:` of several. Compare "
            "them apart, each in a recipe of its own."
        )
    return kinds == {True}
