"""What can run here is found out before anything runs: hours later it would be a failure."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medistill.data.opening import Opened
from medistill.data.volumes.opening import OpenedVolumes
from medistill.documents import Document
from medistill.errors import UserError
from medistill.recipe import Recipe
from medistill.runs.comparing.bench import NO_ENTRY, Bench
from medistill.runs.comparing.grid import WHERE, Block, Grid
from medistill.runs.comparing.image_bench import ImageBench
from medistill.runs.console import Console
from medistill.runs.images import open_images, refuse_or_warn
from medistill.runs.roots import volume_roots


@dataclass(frozen=True)
class Absent:
    """Something that was asked for and cannot be had.

    Args:
        what: Its name.
        why: In a sentence, with where to get it.
    """

    what: str
    why: str


def screen(grid: Grid, console: Console) -> tuple[Grid, list[Absent]]:
    """The grid of what can run here, and what was left out.

    Opens every set once, so that no two runs decode the same images at once.

    Raises:
        UserError: Nothing is left to compare, or some sets hold images and some volumes.
    """
    grid = replace(grid, outlines=_of_volumes(grid))
    bench, absent = _open_sets(grid, console)
    missing = bench.missing_teachers()
    absent += [Absent(name, why) for name, why in missing.items()]
    blocks = (b for b in grid.blocks if b.data in bench.opened and b.teacher not in missing)
    grid = replace(grid, blocks=tuple(blocks))
    grid = replace(grid, left_out=bench.left_out(grid))
    absent += [Absent(what, why) for what, why in _told(grid)]
    for one in absent:
        console.warn(f"{one.what} is left out: {one.why}")
    if not any(True for _ in grid.competing()):
        raise UserError(f"Nothing is left to compare. {absent[0].what}: {absent[0].why}")
    return grid, absent


def _of_volumes(grid: Grid) -> bool:
    """Whether sets of volumes are compared; one that is not here says nothing."""
    kinds = {}
    for block in _one_a_set(grid):
        if not _missing(grid, block):
            with suppress(UserError):  # what is wrong with a set is told when it is opened
                kinds[block.data] = bool(volume_roots(grid.recipe_of(block, NO_ENTRY)))
    if len(set(kinds.values())) > 1:
        volumes = next(name for name, outlines in kinds.items() if outlines)
        raise UserError(
            f"{volumes} holds volumes, and other sets hold images. Compare them apart: --data."
        )
    return any(kinds.values())


def _open_sets(grid: Grid, console: Console) -> tuple[Bench[Any], list[Absent]]:
    opened: dict[str, Any] = {}
    absent = []
    for block in _one_a_set(grid):
        if missing := _missing(grid, block):
            where = grid.sets[block.data].get(WHERE, "Give its place: --data NAME=FOLDER.")
            why = f"there is nothing at {missing[0].get('root')}. {where}"
            absent.append(Absent(block.data, why))
            continue
        try:
            recipe = grid.recipe_of(replace(block, fraction=1.0), NO_ENTRY)
            opened[block.data] = (_volumes if grid.outlines else _images)(recipe, console)
        except UserError as error:
            absent.append(Absent(block.data, str(error)))
    if not grid.outlines:
        return ImageBench(grid, opened), absent
    from medistill.runs.comparing.volume_bench import VolumeBench

    return VolumeBench(grid, opened), absent


def _images(recipe: Recipe, console: Console) -> Sequence[Opened]:
    found = open_images(recipe, None, console)
    refuse_or_warn(found, recipe, console)
    return found


def _volumes(recipe: Recipe, console: Console) -> Sequence[OpenedVolumes]:
    from medistill.runs.volumes.preparing import open_labelled

    return open_labelled(recipe, volume_roots(recipe), None, console)


def _one_a_set(grid: Grid) -> Iterable[Block]:
    return {block.data: block for block in grid.blocks}.values()


def _missing(grid: Grid, block: Block) -> list[Document]:
    return [root for root in grid.roots(block.data).values() if not _exists(root)]


def _exists(root: Document) -> bool:
    return Path(str(root.get("root"))).exists()


def _told(grid: Grid) -> list[tuple[str, str]]:
    """One line for each entry and reason, with the blocks where it runs in others."""
    concerned: dict[tuple[str, str], list[Block]] = {}
    for (block, name), why in grid.left_out.items():
        concerned.setdefault((name, why), []).append(block)
    told = []
    for (name, why), blocks in concerned.items():
        some = "" if len(blocks) == len(grid.blocks) else f" ({_places(blocks)})"
        told.append((f"{grid.entries[name].label}{some}", why))
    return told


def _places(blocks: Sequence[Block]) -> str:
    names = [" · ".join(filter(None, (b.data, b.teacher, b.student))) for b in blocks]
    shown = list(dict.fromkeys(names))
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
