"""Everything before the first step of a training on volumes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from math import lcm
from typing import Any

import numpy as np
import torch

from medistill import catalog
from medistill.assemble import (
    METHODS,
    build_method,
    check_collaborators,
    method_class,
    method_name,
    method_settings,
    takes,
)
from medistill.data.volumes.layouts.base import VolumeLayout
from medistill.data.volumes.opening import OpenedVolumes
from medistill.data.volumes.patches import PatchLoader, check_patch
from medistill.errors import UserError
from medistill.methods.base import Method
from medistill.models.segmenters.base import Segmenter
from medistill.recipe import Recipe
from medistill.results import RunFolder
from medistill.runs.ancestry import parts_of, warn_of_shared_images
from medistill.runs.console import Console
from medistill.runs.images import heed
from medistill.runs.recording import record, told_findings
from medistill.runs.roots import volume_roots
from medistill.runs.volumes.building import Known, build_student, build_teacher
from medistill.runs.volumes.loading import training_patches
from medistill.runs.volumes.roots import classes_of, key_of, open_roots, say_splits
from medistill.runs.volumes.sizing import Sides, median_shape, patch_for
from medistill.runs.volumes.teaching import teach
from medistill.runs.volumes.validating import VolumeValidation
from medistill.training.distributed import main_process, rank, world


@dataclass(frozen=True)
class VolumeJob:
    """A run on volumes between its preparation and its end.

    Args:
        recipe: What was asked for.
        run: Where it is written.
        console: Where to say what happens.
        device: Where to compute.
        opened: The roots.
        patch: Sides of what a network sees at a time.
        known: The teacher's network; None without one.
        licences: Of the weights that student and teacher start from, where known.
        method: About to be trained.
        validation: What chooses a checkpoint.
        started: When the preparation began, in seconds since 1970.
    """

    recipe: Recipe
    run: RunFolder
    console: Console
    device: torch.device
    opened: Sequence[OpenedVolumes]
    patch: Sides
    known: Known | None
    licences: tuple[str, ...]
    method: Method
    validation: VolumeValidation
    started: float

    def loader(self) -> PatchLoader:
        """This process's share of the training patches."""
        datasets = [one.dataset for one in self.opened]
        return training_patches(self.recipe, datasets, self.patch, rank=rank(), world=world())


def prepare(recipe: Recipe, run: RunFolder, device: torch.device, console: Console) -> VolumeJob:
    """Build and open all that a training needs, and write down what it starts from."""
    started = time.time()
    refuse_method_of_images(recipe)
    check_collaborators(recipe, list(recipe.data.roots), console.say)
    method_settings(recipe)
    _say_left_aside(recipe, console)
    layouts = volume_roots(recipe)
    words = classes_of(layouts)
    known = _known(recipe, words)
    torch.manual_seed(recipe.training.seed)
    student = build_student(recipe, words)
    opened = open_labelled(recipe, layouts, run, console)
    _warn_of_released(student, known, opened, console)
    patch = chosen_patch(recipe, opened, [one.segmenter for one in (student, known) if one])
    console.say(f"patches of {' x '.join(map(str, patch))} voxels")
    datasets = [one.dataset for one in opened]
    validation = VolumeValidation(datasets, recipe, patch, device)
    validation.refuse_unknown_metric()
    warnings = warn_of_shared_images(recipe, opened, console)
    if main_process():
        described = {one.name: _described(one, warnings) for one in opened}
        keys = {one.name: key_of(one) for one in opened}
        made_of = {"data": keys, **_made_of(recipe, known, student)}
        record(recipe, run, opened, described=described, made_of=made_of)
    teacher = None
    if known:
        teacher = teach(recipe, known, words, opened, patch, device=device, console=console)
    # Seeded anew, so that a student starts alike whatever its teacher drew.
    torch.manual_seed(recipe.training.seed)
    with console.advised():
        method = build_method(
            recipe, student=student.segmenter, teacher=teacher, tasks=[d.task for d in datasets]
        )
    return VolumeJob(
        recipe=recipe,
        run=run,
        console=console,
        device=device,
        opened=opened,
        patch=patch,
        known=known,
        licences=_licences(known, student),
        method=method,
        validation=validation,
        started=started,
    )


def _licences(*sources: Known | None) -> tuple[str, ...]:
    """Of all weights that the networks began with, where they are known."""
    return tuple(one.licence for one in sources if one and one.licence)


def _known(recipe: Recipe, words: tuple[str, ...]) -> Known | None:
    """The teacher's network; None where the method takes none."""
    if recipe.teacher is None or not takes(recipe, "teacher"):
        return None
    return build_teacher(recipe.teacher, words)


def open_labelled(
    recipe: Recipe, layouts: Mapping[str, VolumeLayout], run: RunFolder | None, console: Console
) -> tuple[OpenedVolumes, ...]:
    """The roots, with every finding said; what would make the result wrong stops here.

    Raises:
        UserError: A root has no mask to learn from, or something in it must be mended first.
    """
    opened = open_roots(recipe, layouts, run, console)
    say_splits(opened, console)
    for one in opened:
        heed(one.name, one.findings, recipe, console)
        if one.dataset.task.kind == "unlabelled":
            raise UserError(
                f"{one.name}: no volume has a mask to learn from. Leave data.roots.{one.name} out."
            )
    return opened


def chosen_patch(
    recipe: Recipe, opened: Sequence[OpenedVolumes], networks: Sequence[Segmenter]
) -> Sides:
    """The recipe's patch, or one for the data; every network takes it.

    Raises:
        UserError: The recipe's sides are no multiples of a stride.
    """
    a, b, c = starmap(lcm, zip(*(network.stride for network in networks), strict=True))
    if recipe.data.patch is None:
        return patch_for(median_shape([one.dataset for one in opened]), (a, b, c))
    check_patch(recipe.data.patch, (a, b, c))
    for network in networks:
        network.shapes(recipe.data.patch)
    return recipe.data.patch


def _warn_of_released(
    student: Known, known: Known | None, opened: Sequence[OpenedVolumes], console: Console
) -> None:
    """Say where released weights are shown or asked what they were not trained with."""
    if student.invented:
        console.warn(
            f"{student.name} starts from weights that never saw the vectors it is asked by: name "
            "those of its text encoder as student.options.queries (write_text_queries makes them)."
        )
    if known is not None and known.bare:
        console.warn(
            f"{known.name}'s file has an expert for each region, but a teacher is its shared "
            "backbone alone, which knows less: an expert only starts a student (student.task)."
        )
    for one in (student, known):
        if one is not None and one.released:
            for said in (_said_of_modalities(one, opened), _said_of_frames(one, opened)):
                if said:
                    console.warn(said)


def _said_of_modalities(one: Known, opened: Sequence[OpenedVolumes]) -> str:
    """That a network's vectors are of one modality, where it is shown several."""
    kinds = sorted({volumes.modality(row) for volumes in opened for row in volumes.used})
    if one.invented or len(kinds) < 2:
        return ""
    return (
        f"{one.name} is shown {' and '.join(map(str.upper, kinds))}, but the vectors of its text "
        "encoder are of one modality each, and `queries` names one file: train a run for each, "
        "with vectors of its own (write_text_queries, modality=)."
    )


def _said_of_frames(one: Known, opened: Sequence[OpenedVolumes]) -> str:
    """That volumes are shown in directions in which a network was not trained."""
    framed = next((v.name for v in opened if v.dataset.preparation.frame is not None), None)
    if framed is None:
        return ""
    return (
        f"{framed} lies between the axes of the body and is shown in directions of its own, "
        f"but {one.name} was trained along those of the body (RAS): set data.spacing_mm."
    )


def refuse_method_of_images(recipe: Recipe) -> None:
    """Refuse what compares classes or images.

    Raises:
        UserError: The method trains no segmenter.
    """
    if not method_class(recipe).volumes:
        found = {n: catalog.find(METHODS, n, Method) for n in catalog.available(METHODS)}  # type: ignore[type-abstract]
        serving = ", ".join(name for name, method in found.items() if method.volumes)
        raise UserError(
            f"{method_name(recipe)} trains on images, but the roots hold volumes. Set method.name "
            f"to one of {serving}."
        )


def _say_left_aside(recipe: Recipe, console: Console) -> None:
    """Name the settings that concern images alone, where the recipe says something of them."""
    of_images = ((recipe.data, "size"), (recipe.data, "augmentation"), (recipe.data, "sampling"),
                 (recipe.training, "class_weights"))  # fmt: skip
    for section, key in of_images:
        if getattr(section, key) != type(section).model_fields[key].default:
            console.say(f"{key} is a setting for images: it is left aside.")


def _made_of(recipe: Recipe, known: Known | None, student: Known) -> dict[str, Any]:
    """Who has a part, and hashes of the weights that they begin with."""
    found = parts_of(recipe, random=known is not None and known.random)
    weights = {}
    for role, one in (("student", student), ("teacher", known)):
        if one is not None:
            weights[role] = one.sha256
        if one is not None and found[role]:
            # The file of weights may have told whose it is.
            licences = dict.fromkeys(filter(None, [one.licence, *found[role]["licences"]]))
            found[role] |= {"licence": one.licence, "licences": list(licences)}
    return {**found, "weights": weights}


def _described(one: OpenedVolumes, warnings: Sequence[str]) -> dict[str, Any]:
    """What a report says of a data set: counts and findings, never a file."""
    dataset = one.dataset
    classes = dataset.task.classes
    counts = {
        split: {name: _shown(one, rows, place) for place, name in enumerate(classes)}
        for split, rows in dataset.splits.items()
    }
    return {
        "kind": "segmentation",
        "classes": classes,
        "region": dataset.task.region,
        "how": one.how,
        "volumes": {split: len(rows) for split, rows in dataset.splits.items()},
        "counts": counts,
        "findings": told_findings(one.findings, warnings),
        "preparation": dataset.preparation.as_document(),
    }


def _shown(one: OpenedVolumes, rows: np.ndarray, place: int) -> int:
    """In how many of some volumes a class is there."""
    return sum(place in one.dataset.volumes.places(row)[:, 0] for row in rows.tolist())
