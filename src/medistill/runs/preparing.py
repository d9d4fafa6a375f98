"""Everything before the first step: what can be wrong is found before anything takes long."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from medistill.assemble import (
    Foundation,
    build_foundation,
    build_method,
    build_student,
    check_collaborators,
    is_features,
    method_settings,
    takes,
    views,
)
from medistill.data.loading import Loader
from medistill.data.opening import Opened
from medistill.data.order import Order
from medistill.evaluation.operating import positive_class
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.weights import digest
from medistill.recipe import Recipe
from medistill.results import RunFolder
from medistill.runs.ancestry import parts_of, warn_of_shared_images
from medistill.runs.console import Console
from medistill.runs.images import open_images, refuse_or_warn, say_splits, warn_of_small_shares
from medistill.runs.recording import record, told_findings
from medistill.runs.teaching import Classroom, Teaching
from medistill.runs.validating import Validation
from medistill.training.distributed import main_process, rank, world


@dataclass(frozen=True)
class Job:
    """A run between its preparation and its end.

    Args:
        recipe: What was asked for.
        run: Where it is written.
        console: Where to say what happens.
        device: Where to compute.
        opened: The roots.
        foundation: The teacher's network; None without one.
        teaching: The teacher as the method meets it; None without one.
        method: About to be trained.
        validation: What chooses a checkpoint.
        started: When the preparation began, in seconds since 1970.
    """

    recipe: Recipe
    run: RunFolder
    console: Console
    device: torch.device
    opened: Sequence[Opened]
    foundation: Foundation | None
    teaching: Teaching | None
    method: Method
    validation: Validation
    started: float

    def loader(self) -> Loader:
        """This process's share of the training images."""
        settings, data = self.recipe.training, self.recipe.data
        return Loader(
            [one.dataset for one in self.opened],
            "train",
            batch_size=settings.batch_size,
            order=Order(
                seed=settings.seed, sampling=data.sampling, task_sampling=data.task_sampling
            ),
            views=views(self.recipe),
            rank=rank(),
            world=world(),
            class_weights=settings.class_weights,
        )


def prepare(recipe: Recipe, run: RunFolder, device: torch.device, console: Console) -> Job:
    """Build and open all that a training needs, and write down what it starts from."""
    started = time.time()
    check_collaborators(recipe, list(recipe.data.roots), console.say)
    method_settings(recipe)
    views(recipe)
    foundation = _foundation(recipe)
    torch.manual_seed(recipe.training.seed)
    student = build_student(recipe, classes=2)
    opened = open_images(recipe, run, console)
    say_splits(opened, console)
    refuse_or_warn(opened, recipe, console)
    warn_of_small_shares(opened, recipe, console)
    validation = _validation(recipe, opened, device)
    warnings = warn_of_shared_images(recipe, opened, console)
    if main_process():
        described = {one.name: _described(one, warnings) for one in opened}
        made_of = {
            "data": {one.name: one.dataset.store.key for one in opened},
            **_made_of(recipe, foundation, student),
        }
        record(recipe, run, opened, described=described, made_of=made_of)
    teaching = None
    if recipe.teacher is not None and takes(recipe, "teacher"):
        classroom = Classroom(recipe, recipe.teacher, opened, device, console)
        teaching = classroom.teach(foundation, student, run)
    tasks = [one.dataset.task for one in opened]
    # Seeded anew, so that a student starts alike whatever its teacher drew.
    torch.manual_seed(recipe.training.seed)
    student = student.with_classes(max(1, len(tasks[0].classes)))
    teacher = teaching.teacher if teaching else None
    with console.advised():
        method = build_method(
            recipe, student=student, teacher=teacher, tasks=tasks, foundation=foundation
        )
    return Job(
        recipe, run, console, device, opened, foundation, teaching, method, validation, started
    )


def _foundation(recipe: Recipe) -> Foundation | None:
    source = recipe.teacher
    if source is None or not takes(recipe, "teacher") or is_features(source):
        return None
    return build_foundation(source, size=recipe.data.size)


def _validation(recipe: Recipe, opened: Sequence[Opened], device: torch.device) -> Validation:
    """What epochs will be judged by; a metric or a class that nobody knows is refused here."""
    datasets = [one.dataset for one in opened]
    validation = Validation(datasets, [one.digests for one in opened], recipe.training, device)
    validation.refuse_unknown_metric()
    for dataset in datasets:
        if dataset.task.classes:
            positive_class(dataset.task.classes, recipe.evaluation.positive)
    return validation


def _made_of(recipe: Recipe, foundation: Foundation | None, student: Student) -> dict[str, Any]:
    """Who has a part, and hashes of the weights that they begin with."""
    weights = {"student": digest(student.encoder)}
    if foundation is not None:
        weights["teacher"] = foundation.sha256
    random = foundation is not None and foundation.random
    return {**parts_of(recipe, random=random), "weights": weights}


def _described(one: Opened, warnings: Sequence[str]) -> dict[str, Any]:
    """What a report says of a data set: counts and findings, never a file."""
    classes = one.dataset.task.classes
    counts = {
        split: {
            classes[t]: n for t, n in Counter(one.dataset.targets[rows].tolist()).items() if t >= 0
        }
        for split, rows in one.dataset.splits.items()
    }
    return {
        "classes": classes,
        "how": one.how,
        "counts": counts,
        "findings": told_findings(one.findings, warnings),
    }
