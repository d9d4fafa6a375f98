"""Recipe -> objects: the only builder. Past this point nobody sees a recipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medistill import catalog
from medistill.data.augmentation import Augmentation
from medistill.data.layouts.base import Layout, Sample, open_root, with_patients
from medistill.data.loading import Views
from medistill.data.splits import SplitRules
from medistill.errors import UserError
from medistill.methods.base import Method
from medistill.models.backbones.base import Backbone, build_backbone
from medistill.models.deployed import find_deployed, load_deployed, load_start
from medistill.models.networks import Encoder, Student
from medistill.models.teachers import Teacher
from medistill.models.weights import digest, load_weights
from medistill.recipe import Recipe, Root, TeacherSource, checked_settings
from medistill.types import Task

METHODS = "medistill.methods"
RUN = "run:"
FEATURES = "features:"
Say = Callable[[str], None]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Foundation:
    """A teacher's network, and where it comes from.

    Args:
        encoder: Not yet frozen or cached.
        name: As the recipe calls it.
        sha256: Of its weights.
        licence: Which a student inherits, where known.
        random: It never learned anything; every report says so.
    """

    encoder: Encoder
    name: str
    sha256: str
    licence: str | None
    random: bool


def open_layouts(recipe: Recipe) -> dict[str, tuple[Layout, list[Sample]]]:
    """The layout and the samples of each root, without decoding an image."""
    return {name: _listed(root) for name, root in recipe.data.roots.items()}


def split_rules(recipe: Recipe) -> SplitRules:
    """How to split what has no official split."""
    rules = recipe.data.split
    return SplitRules(seed=rules.seed, test=rules.test, validation=rules.validation)


def views(recipe: Recipe) -> Views:
    """How many views training shows, and which."""
    given = checked_settings(Augmentation, recipe.data.augmentation, "data.augmentation")
    data = recipe.data
    return Views(count=data.views, seed=data.view_seed, augmentation=Augmentation(**given))


def method_class(recipe: Recipe) -> type[Method]:
    """The method's class, by its name or one of its aliases."""
    name = recipe.method.get("name")
    if not isinstance(name, str):
        raise UserError("method.name is missing; `medistill list methods` shows the choice.")
    try:
        return catalog.find(METHODS, name, Method)  # type: ignore[type-abstract]
    except LookupError as error:
        raise UserError(str(error)) from None


def method_name(recipe: Recipe) -> str:
    """The name of the method's file, whatever alias the recipe uses."""
    return method_class(recipe).__module__.rpartition(".")[2]


def method_settings(recipe: Recipe) -> dict[str, Any]:
    """The method's settings, typed and complete."""
    given = {key: value for key, value in recipe.method.items() if key != "name"}
    return checked_settings(method_class(recipe), given, "method")


def takes(recipe: Recipe, collaborator: str) -> bool:
    """Whether the method wants a `student`, a `teacher` or the `tasks`."""
    return collaborator in catalog.collaborators(method_class(recipe))


def build_method(
    recipe: Recipe, *, student: Student, teacher: Teacher | None, tasks: Sequence[Task]
) -> Method:
    """The method with its collaborators."""
    wanted = catalog.collaborators(method_class(recipe))
    offered = {"student": student, "teacher": teacher, "tasks": tuple(tasks)}
    chosen = [offered[name] for name in wanted]
    return method_class(recipe)(*chosen, **method_settings(recipe))


def check_collaborators(recipe: Recipe, tasks: Sequence[str], say: Say) -> None:
    """Refuse what the method cannot work with, and name what it does not look at.

    Args:
        recipe: What was asked for.
        tasks: Names of the roots.
        say: Takes one word for the log.
    """
    name = method_name(recipe)
    if takes(recipe, "teacher") and recipe.teacher is None:
        raise UserError(f"{name} needs a teacher: add a `teacher:` section to the recipe.")
    if not takes(recipe, "tasks") and len(tasks) > 1:
        raise UserError(
            f"{name} trains one task, but the recipe has {len(tasks)} roots: {', '.join(tasks)}."
        )
    if recipe.teacher is not None and not takes(recipe, "teacher"):
        say(f"{name} takes no teacher: {recipe.teacher.name} is left aside.")
    if not takes(recipe, "student"):
        say(f"{name} takes no student: {recipe.student.name} is left aside.")


def build_student(recipe: Recipe, classes: int) -> Student:
    """The student with its starting weights and a head of its own."""
    source = recipe.student
    if source.name.startswith(RUN):
        return Student(_encoder_of_run(source.name), classes)
    backbone = build_backbone(source.name, source.options)
    # A ViT of another size is refused here, before anything takes long.
    backbone.shapes(source.size or recipe.data.size)
    load_weights(backbone, source.weights, role="student")
    encoder = Encoder(backbone, mean=source.mean, std=source.std, size=source.size)
    if source.start is not None:
        load_start(encoder, Path(source.start.removeprefix(RUN)))
    return Student(encoder, classes)


def build_foundation(source: TeacherSource, *, size: int) -> Foundation:
    """A teacher's network with the weights and the normalisation that belong together.

    Args:
        source: The recipe's teacher section; not a file of features.
        size: Side of the images that it will be shown; it resizes them where it has its own.
    """
    if source.name.startswith(RUN):
        encoder = _encoder_of_run(source.name)
        return Foundation(encoder, source.name, digest(encoder), source.licence, random=False)
    if source.weights is None:
        raise UserError(
            f"teacher.weights is missing: name {source.name}'s weight file, `pretrained` (when "
            "online), or `random` for a teacher that knows nothing."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # `random` is the same teacher after a resume, and in every process
        backbone = build_backbone(source.name, source.options)
    report = load_weights(backbone, source.weights)
    shown = source.size or _fixed_size(backbone, size)
    encoder = Encoder(backbone, mean=source.mean, std=source.std, size=shown)
    random = source.weights == "random"
    return Foundation(encoder, source.name, report.sha256, source.licence, random=random)


def is_features(source: TeacherSource) -> bool:
    """Whether the teacher is a file of features rather than a network."""
    return source.name.startswith(FEATURES)


def features_file(source: TeacherSource) -> Path:
    """The file of features that a recipe names."""
    return Path(source.name.removeprefix(FEATURES))


def run_folder(name: str) -> Path | None:
    """The folder that `run:<folder>` names; None for any other name."""
    return Path(name.removeprefix(RUN)) if name.startswith(RUN) else None


def _fixed_size(backbone: Backbone, size: int) -> int | None:
    """The one size that a backbone takes; None where it takes images as they are."""
    try:
        backbone.shapes(size)
    except UserError:
        return backbone.size
    return None


def _encoder_of_run(name: str) -> Encoder:
    student, _ = load_deployed(find_deployed(Path(name.removeprefix(RUN)), None))
    return student.encoder


def _listed(root: Root) -> tuple[Layout, list[Sample]]:
    layout = open_root(root.root, root.layout, root.task)
    samples = layout.samples()
    if root.patient_pattern:
        samples = with_patients(samples, root.patient_pattern)
    return layout, samples
