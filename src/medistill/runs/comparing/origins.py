"""Students that start from finished runs: which network of each run suits which set of images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medistill.assemble import RUN
from medistill.documents import Document
from medistill.errors import UserError
from medistill.models.deployed import read_config
from medistill.recipe import Compare, Recipe, StudentSource, read_recipe
from medistill.results import SHARED, RunFolder
from medistill.runs.comparing.entrants import ALONE
from medistill.runs.comparing.grid import ROOTS, Entry, Origin, override

PAIR = "pair/"  # a common network with a small one beside it competes as one


def pretrained(
    recipe: Recipe, asked: Compare, sets: Mapping[str, Document], taken: Mapping[str, Entry]
) -> dict[str, Entry]:
    """A competitor for each run of `compare.pretrained`, which then learns as the student alone.

    Args:
        recipe: Names the student that all are compared with.
        asked: Names the runs.
        sets: What the students learn now; a set's region tells which expert suits it.
        taken: What competes otherwise.

    Raises:
        UserError: A name is taken, no run is named, or the sets are trained together.
    """
    if asked.pretrained and any(ROOTS in found for found in sets.values()):
        raise UserError(
            "compare.pretrained starts students of one task; compare.data has several together. "
            "Name each set alone."
        )
    called = {*taken, *(entry.label for entry in taken.values())}
    if clash := next((name for name in asked.pretrained if name in called), None):
        raise UserError(f"compare.pretrained.{clash} is called like another entry; rename it.")
    return {
        name: _entry(name, _section(name, said), recipe, sets, asked.seeds[0])
        for name, said in asked.pretrained.items()
    }


def _entry(
    name: str, said: Document, recipe: Recipe, sets: Mapping[str, Document], seed: int
) -> Entry:
    origins = {
        data: origin(said, data, root.get("region") or data, seed) for data, root in sets.items()
    }
    return Entry(
        name=name,
        label=name,
        method=ALONE,
        overrides=(override("method", {"name": ALONE}),),
        asks_teacher=False,
        makes_student=_is_small(said, recipe, seed),
        origins=origins,
    )


def origin(said: Document, data: str, region: str, seed: int) -> Origin:
    """The network of a run that a set's student starts from.

    It is the one that is named; else, where the run deployed no shared backbone, its only one; else
    that of the set's region; else the backbone that all experts share, be they one or several.

    Args:
        said: The run, and maybe its task, for all sets or by set.
        data: Name of the set.
        region: Of the set.
        seed: Of the run that is looked at, where there is one for each.
    """
    run, name = _run(said, seed), said["name"]
    if not run.finished:
        return Origin(None, why=f"there is no finished run at {run.path}.")
    task = said.get("task")
    task = task.get(data) if isinstance(task, Mapping) else task
    if task is None and _one_network(run):
        return Origin({"name": name})
    regions = _regions(run)
    task = task or next((t for t, of in regions.items() if of == region), SHARED)
    # Also the shared backbone, which is no task.
    if not run.deployed(task).config.exists():
        known = ", ".join(dict.fromkeys(regions.values()))
        what = f"no network of {region}" if task == SHARED else f"no task {task!r}"
        return Origin(None, why=f"{run.path} has {what}, only of {known}.")
    return Origin({"name": name, "task": task}, shared=task == SHARED)


def _section(name: str, said: Any) -> Document:
    section = {"name": said} if isinstance(said, str) else dict(said)
    if not str(section.get("name", "")).startswith(RUN):
        raise UserError(f"compare.pretrained.{name} = {said!r}: name a run, as in run:FOLDER.")
    return section


def _run(said: Document, seed: int) -> RunFolder:
    place = str(said["name"]).removeprefix(RUN).replace("{seed}", str(seed))
    return RunFolder(Path(place))


def _one_network(run: RunFolder) -> bool:
    """Whether the run has one encoder for whatever comes: no experts, be it only one."""
    if run.deployed(SHARED).config.exists():
        return False
    return len(run.tasks()) == 1 or _one_encoder(run)


def _one_encoder(run: RunFolder) -> bool:
    """Whether the run's networks are heads on one encoder."""
    return bool(read_config(run.deployed(run.tasks()[0]).path).get("shared_encoder"))


def _regions(run: RunFolder) -> dict[str, str]:
    """Regions of the tasks that have a network, in the order of the run's recipe."""
    roots, tasks = read_recipe(run.recipe).data.roots, run.tasks()
    return {name: root.region or name for name, root in roots.items() if name in tasks}


def _is_small(said: Document, recipe: Recipe, seed: int) -> bool:
    """Whether the run's networks are what is compared; a foundation model is no rival of those."""
    run = _run(said, seed)
    if not run.finished or not run.tasks():
        return True
    config = read_config(run.deployed(run.tasks()[0]).path)
    if "segmenter" in config:
        return _same_segmenter(config["segmenter"], recipe.student)
    name = str(config["backbone"]["name"])
    return name == recipe.student.name or name.startswith(PAIR)


def _same_segmenter(known: Document, student: StudentSource) -> bool:
    """Whether it is the student's network: families serve sizes by options, not by names."""
    from medistill.models.segmenters.base import build_segmenter

    if known["name"] != student.name:
        return False
    own = build_segmenter(student.name, student.options, ("any",)).portable
    # As a file holds them: tuples are lists there.
    return bool(json.loads(json.dumps(own)) == known["options"])
