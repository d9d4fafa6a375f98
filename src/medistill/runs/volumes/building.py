"""Recipe -> segmenters: the student, and the network of its teacher."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medistill.assemble import RUN
from medistill.errors import UserError
from medistill.models.deployed import find_deployed
from medistill.models.deployed_segmenters import load_segmenter, load_segmenter_weights
from medistill.models.released_experts import holds_experts
from medistill.models.released_segmenters.base import find_release
from medistill.models.segmenters.base import Answering, Segmenter, build_segmenter
from medistill.models.weights import digest
from medistill.recipe import Recipe, StudentSource, TeacherSource

RANDOM = "random"
_QUERIES = "queries"
_OF_IMAGES = ("mean", "std", "stretch", "size", "grid")


@dataclass(frozen=True)
class Known:
    """A student's or a teacher's network, and where it comes from.

    Args:
        segmenter: As it starts; not yet frozen.
        name: As the recipe calls it.
        sha256: Of its weights.
        licence: Of its weights, where known: every network that comes of them inherits it.
        random: It never learned anything; every report says so.
        released: Its weights are a segmenter's, as its authors hand them out.
        invented: Its queries are vectors that those weights never saw.
        bare: Its file has an expert for each region, all of which are left aside.
    """

    segmenter: Segmenter
    name: str
    sha256: str
    licence: str | None
    random: bool
    released: bool = False
    invented: bool = False
    bare: bool = False


def build_student(recipe: Recipe, words: tuple[str, ...]) -> Known:
    """The student with its starting weights, which may be asked for these classes.

    Raises:
        UserError: No segmenter has its name, or its start is of another one.
    """
    source = recipe.student
    _refuse_settings_of_images(source, "student")
    if source.name.startswith(RUN):
        segmenter = _of_run(source, source.task, words, "student")
        return Known(segmenter, source.name, digest(segmenter), source.licence, random=False)
    segmenter = build_segmenter(_design(source.name), source.options, words)
    if source.start is not None:
        start = source.start.removeprefix(RUN)
        report = load_segmenter_weights(segmenter, start, task=source.task)
    else:
        # Of a released decomposition a task is the region of an expert.
        report = load_segmenter_weights(
            segmenter, source.weights, expert=source.task, role="student"
        )
    random = source.start is None and source.weights == RANDOM
    licence = source.licence or report.licence
    invented = report.released and not source.options.get(_QUERIES)
    return Known(
        segmenter, source.name, digest(segmenter), licence, random, report.released, invented
    )


def build_teacher(source: TeacherSource, words: tuple[str, ...]) -> Known:
    """The teacher's network: that of a run, or an architecture with a file of weights.

    Raises:
        UserError: There is no such network, no weights for it, or it would be asked by vectors that
            released weights never saw.
    """
    _refuse_settings_of_images(source, "teacher")
    licence, released, bare = source.licence, False, False
    if source.name.startswith(RUN):
        segmenter = _of_run(source, None, words, "teacher")
    elif source.weights is None:
        raise UserError(
            f"teacher.weights is missing: name {source.name}'s weight file, or a run of your own "
            "as teacher.name=run:FOLDER."
        )
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # `random` is the same teacher after a resume
            segmenter = build_segmenter(_design(source.name), source.options, words)
        report = load_segmenter_weights(segmenter, source.weights, role="teacher")
        licence, released = licence or report.licence, report.released
        bare = released and holds_experts(report.left_out)
        if released and not source.options.get(_QUERIES):
            raise UserError(
                f"teacher.options.queries is missing: {source.name}'s weights understand the "
                "vectors of their own text encoder alone. Make the file once with "
                "medistill.models.text_encoder.write_text_queries, and name it."
            )
    random = source.weights == RANDOM
    return Known(segmenter, source.name, digest(segmenter), licence, random, released, bare=bare)


def _design(name: str) -> str:
    """The network of a released model's name, however it is spelt; else the name as it is."""
    release = find_release(name)
    return release.segmenter if release else name


def _of_run(
    source: StudentSource | TeacherSource, task: str | None, words: tuple[str, ...], role: str
) -> Segmenter:
    """The network of a run, which a student may ask for classes that it did not know."""
    _refuse_beside_run(source, role)
    folder = find_deployed(Path(source.name.removeprefix(RUN)), task)
    found = load_segmenter(folder)[0].segmenter
    if role == "teacher":
        Answering(found, words)  # refuses a class of which it could teach nothing
        return found
    if found.vocabulary == words:
        return found
    anew = build_segmenter(found.spec.name, found.spec.options, words)
    load_segmenter_weights(anew, folder, role=role)
    return anew


def _refuse_beside_run(source: StudentSource | TeacherSource, role: str) -> None:
    defaults = type(source).model_fields
    for key in ("weights", "start", "options"):
        if key in defaults and getattr(source, key) != defaults[key].default:
            raise UserError(
                f"{role}.{key} cannot stand beside {role}.name {source.name}: a run brings its "
                "network as it was trained. Leave it out."
            )


def _refuse_settings_of_images(source: StudentSource | TeacherSource, role: str) -> None:
    """Refuse what says nothing of a volume, instead of leaving it aside without a word."""
    told: Mapping[str, Any] = source.model_dump(include=set(_OF_IMAGES))
    for key, value in told.items():
        if value is not None:
            raise UserError(
                f"{role}.{key} is a setting for images; volumes are prepared by data.spacing_mm "
                "and cut by data.patch. Leave it out."
            )
