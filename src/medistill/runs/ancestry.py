"""Which images a network has learnt from, through all the runs that it started from."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import yaml

from medistill.assemble import licence_of, run_folder, takes
from medistill.recipe import Recipe, StudentSource, TeacherSource
from medistill.results import RunFolder, read_json, write_json
from medistill.runs.console import Console

ALIKE_BITS = 4  # thumbnails of 256 bits that differ in no more are of one picture
LEARNT = ("train", "validation")


@runtime_checkable
class Source(Protocol):
    """A root of images or of volumes, which tells what it holds without naming a file."""

    @property
    def name(self) -> str:
        """Of its task."""

    def seen(self, parts: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Digest and thumbnail of all that stands in some splits."""


def save_sources(opened: Sequence[Source], run: RunFolder) -> None:
    """Write the digest and the thumbnail of every image that this run learns from."""
    write_json(run.sources, {one.name: dict(one.seen(LEARNT)) for one in opened})


def warn_of_shared_images(recipe: Recipe, opened: Sequence[Source], console: Console) -> list[str]:
    """Warn where a test image was learnt from by the teacher, or by the student's start.

    Returns:
        What was said, for the report.
    """
    said = list(_shared_images(recipe, opened))
    for line in said:
        console.warn(line)
    return said


def _shared_images(recipe: Recipe, opened: Sequence[Source]) -> Iterator[str]:
    for folder in _ancestors(recipe.model_dump()):
        for task, learnt in read_json(RunFolder(folder).sources).items():
            for one in opened:
                count = _shared(one, learnt)
                if count:
                    yield (
                        f"{count} test images of {one.name} are, or look like, images that "
                        f"{folder} learnt from ({task}): its results on them are too good."
                    )


def inherited_licences(recipe: Recipe) -> list[str]:
    """Terms of the teacher and of every run that had a part: they bind the student too."""
    parts = {"teacher": recipe.teacher, "student": recipe.student}
    asked = (part for name, part in parts.items() if part and takes(recipe, name))
    return list(dict.fromkeys(licence for part in asked for licence in terms_of(part)))


def terms_of(source: TeacherSource | StudentSource) -> list[str]:
    """Terms of a network's weights: its own, and those of every run that it came from."""
    found = [licence_of(source)]
    for folder in _ancestors({"student": source.model_dump()}):
        run = RunFolder(folder)
        for task in run.tasks():
            found += read_json(run.deployed(task).config).get("licences", [])
    return list(dict.fromkeys(licence for licence in found if licence))


def parts_of(recipe: Recipe, *, random: bool) -> dict[str, Any]:
    """The teacher that is asked and the student that is trained, each None where there is none.

    Args:
        recipe: What was asked for.
        random: Whether the teacher never learned anything.
    """
    asked: dict[str, Any] = {"teacher": None, "student": None}
    if recipe.teacher and takes(recipe, "teacher"):
        asked["teacher"] = {**_noted(recipe.teacher), "random": random}
    if takes(recipe, "student"):
        asked["student"] = _noted(recipe.student)
    return asked


def _noted(source: TeacherSource | StudentSource) -> dict[str, Any]:
    return {"name": source.name, "licence": licence_of(source), "licences": terms_of(source)}


def _ancestors(document: dict[str, Any]) -> Iterator[Path]:
    """The runs that a recipe starts from, and those that these started from in turn."""
    waiting, met = _named(document), set()
    while waiting:
        folder = waiting.pop()
        run = RunFolder(folder)
        if folder not in met and run.sources.exists():
            met.add(folder)
            yield folder
            waiting += _named(yaml.safe_load(run.recipe.read_text(encoding="utf-8")))


def _named(document: dict[str, Any]) -> list[Path]:
    """The runs that a recipe names as its teacher or as its student's start."""
    parts = [document.get("student") or {}, document.get("teacher") or {}]
    names = (part.get(key) for part, key in product(parts, ("name", "start")))
    return list(filter(None, map(run_folder, filter(None, names))))


def _shared(one: Source, learnt: dict[str, str]) -> int:
    """How many test images are among the learnt ones, by their pixels or their thumbnails."""
    thumbnails = {int(text, 16) for text in learnt.values()}
    return sum(
        digest in learnt or _alike(int(text, 16), thumbnails)
        for digest, text in one.seen(("test",))
    )


def _alike(thumbnail: int, others: set[int]) -> bool:
    return any((thumbnail ^ other).bit_count() <= ALIKE_BITS for other in others)
