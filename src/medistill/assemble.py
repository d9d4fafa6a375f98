"""Recipe -> objects: the only builder. Past this point nobody sees a recipe."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medistill import catalog
from medistill.data.augmentation import Augmentation
from medistill.data.layouts.base import Layout, Sample, open_root, with_patients
from medistill.data.loading import Views
from medistill.data.splits import SplitRules
from medistill.errors import UserError
from medistill.methods.base import Method
from medistill.models.adapters.base import trunk_of
from medistill.models.backbones.base import Backbone
from medistill.models.deployed import (
    count_deployed,
    find_deployed,
    load_deployed,
    load_start,
    read_config,
    read_tensors,
)
from medistill.models.judges import Head, Judges
from medistill.models.networks import Encoder, Student
from medistill.models.scales import paired
from medistill.models.sources import load_network, released_licence
from medistill.models.teachers import Frozen, Teacher
from medistill.models.weights import digest
from medistill.recipe import Recipe, Root, StudentSource, TeacherSource, checked_settings
from medistill.results import SHARED, RunFolder
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
        head: Of a run that trained this one network: what it judges, it judges by itself.
        classes: Which the head tells apart.
        heads: Of a run that trained this network for several tasks or one, by their names: what
            they judge, they judge by themselves.
    """

    encoder: Encoder
    name: str
    sha256: str
    licence: str | None
    random: bool
    head: nn.Linear | None = None
    classes: tuple[str, ...] = ()
    heads: Mapping[str, Head] = field(default_factory=dict)


def open_layouts(recipe: Recipe) -> dict[str, tuple[Layout, list[Sample]]]:
    """The layout and the samples of each root, without decoding an image."""
    return {name: _listed(root) for name, root in recipe.data.roots.items()}


def split_rules(recipe: Recipe) -> SplitRules:
    """How to split what has no official split."""
    rules = recipe.data.split
    return SplitRules(
        seed=rules.seed,
        test=rules.test,
        validation=rules.validation,
        fraction=recipe.data.fraction,
    )


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
    if "batch_size" in catalog.settings(method_class(recipe)):
        given = {"batch_size": recipe.training.batch_size, **given}
    return checked_settings(method_class(recipe), given, "method")


def takes(recipe: Recipe, collaborator: str) -> bool:
    """Whether the method wants a `student`, a `teacher` or the `tasks`."""
    return collaborator in catalog.collaborators(method_class(recipe))


def freeze(recipe: Recipe, foundation: Foundation, student: Student) -> Frozen:
    """The teacher as the method asks it, no map of it finer than the method needs."""
    assert recipe.teacher is not None, "a foundation comes from a teacher section"
    size, method = recipe.data.size, method_class(recipe)
    pairs = paired(student.map_shapes, foundation.encoder.widths)
    return Frozen(
        foundation.encoder,
        grid=recipe.teacher.grid,
        scales="all" if method.scales == "all" else "last",
        limits=method.finest([shape[1:] for shape, _ in pairs], method_settings(recipe)),
        image_shape=(3, size, size),
    )


def build_method(
    recipe: Recipe,
    *,
    student: nn.Module,
    teacher: Teacher | None,
    tasks: Sequence[Task],
    foundation: Foundation | None = None,
) -> Method:
    """The method with its collaborators; what the foundation itself judges of the tasks, too."""
    wanted = catalog.collaborators(method_class(recipe))
    judges = Judges.of(foundation.heads if foundation else {}, tasks)
    offered = {"student": student, "teacher": teacher, "tasks": tuple(tasks), "judges": judges}
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
    _refuse_teacher(recipe, name)
    _refuse_tasks(recipe, name, tasks)
    if recipe.teacher is not None and not takes(recipe, "teacher"):
        say(f"{name} takes no teacher: {recipe.teacher.name} is left aside.")
    if not takes(recipe, "student"):
        say(f"{name} takes no student: {recipe.student.name} is left aside.")
    if method_class(recipe).family == "vit":
        _refuse_unnamed_weights(recipe.student, name)


def build_student(recipe: Recipe, classes: int) -> Student:
    """The student with its starting weights and a head of its own."""
    source = recipe.student
    _refuse_task_of_no_run(source)
    if source.name.startswith(RUN):
        _refuse_beside_run(source, "student")
        found = find_deployed(Path(source.name.removeprefix(RUN)), source.task)
        network, config = load_deployed(found)
        encoder = network.encoder
        # What it was shown there binds it no more than a start would; what it was made for does.
        shown = config.get("network_size")
        encoder.size = shown or _fixed_size(encoder.backbone, recipe.data.size)
    else:
        encoder = _student_encoder(recipe)
    if method_class(recipe).family == "vit":
        trunk_of(encoder)  # one without blocks is refused here, before images are read
    encoder.shown = recipe.data.size
    return Student(encoder, classes)


def build_foundation(source: TeacherSource, *, size: int) -> Foundation:
    """A teacher's network with the weights and the normalisation that belong together.

    Args:
        source: The recipe's teacher section; not a file of features.
        size: Side of the images that it will be shown; it resizes them where it has its own.
    """
    if source.name.startswith(RUN):
        _refuse_beside_run(source, "teacher")
        return _foundation_of_run(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # `random` is the same teacher after a resume, and in every process
        network = load_network(
            source.name, source.weights, options=source.options, size=source.size
        )
    shown = network.size or _fixed_size(network.backbone, size)
    encoder = _encoder(network.backbone, source, shown)
    random, licence = source.weights == "random", licence_of(source)
    return Foundation(encoder, source.name, network.report.sha256, licence, random=random)


def licence_of(source: TeacherSource | StudentSource) -> str | None:
    """The terms of a source's weights: as the recipe states them, or a released model's authors."""
    return source.licence or released_licence(source.name, source.weights)


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


def _student_encoder(recipe: Recipe) -> Encoder:
    source = recipe.student
    network = load_network(
        source.name,
        source.weights,
        options=source.options,
        size=source.size,
        shown=recipe.data.size,
        role="student",
    )
    encoder = _encoder(network.backbone, source, network.size)
    if source.start is not None:
        load_start(encoder, Path(source.start.removeprefix(RUN)), source.task)
    return encoder


def _encoder(
    backbone: Backbone, source: TeacherSource | StudentSource, size: int | None
) -> Encoder:
    """A backbone that is shown images as a recipe says, or as its weights were trained."""
    return Encoder(backbone, mean=source.mean, std=source.std, stretch=source.stretch, size=size)


def _foundation_of_run(source: TeacherSource) -> Foundation:
    run = Path(source.name.removeprefix(RUN))
    student, config = load_deployed(find_deployed(run))
    encoder = student.encoder
    known = Foundation(
        encoder, source.name, digest(encoder), source.licence, random=False, heads=_heads(run)
    )
    # Of several networks on one encoder none speaks for it: then a probe is fitted, as on any
    # foundation model.
    if not config["classes"] or count_deployed(run) > 1:
        return known
    return replace(known, head=student.head, classes=tuple(config["classes"]))


def _heads(run: Path) -> dict[str, Head]:
    """Heads of a run's tasks, where they are heads on the one encoder that it deployed."""
    folders = {task: RunFolder(run).deployed(task).path for task in RunFolder(run).tasks()}
    configs = {task: read_config(folder) for task, folder in folders.items()}
    if not all(len(configs) == 1 or config.get("shared_encoder") for config in configs.values()):
        return {}
    heads = {}
    for task, config in configs.items():
        weight, bias = map(read_tensors(folders[task]).get, ("head.weight", "head.bias"))
        if config["classes"] and weight is not None and bias is not None:
            linear = nn.Linear(weight.shape[1], len(weight))
            linear.load_state_dict({"weight": weight, "bias": bias})
            heads[task] = Head(tuple(config["classes"]), linear)
    return heads


def _refuse_beside_run(source: TeacherSource | StudentSource, role: str) -> None:
    """Refuse what a run decides itself, instead of leaving it aside without a word."""
    fields = type(source).model_fields
    for key in ("weights", "start", "options", "mean", "std", "stretch", "size"):
        if key in fields and getattr(source, key) != fields[key].default:
            raise UserError(
                f"{role}.{key} cannot stand beside {role}.name {source.name}: a run brings its "
                "network as it was trained. Leave it out."
            )


def _refuse_task_of_no_run(student: StudentSource) -> None:
    if student.task and not (student.start or student.name.startswith(RUN)):
        raise UserError(
            f"student.task {student.task} names a network of a run, but no run is named. Add "
            "student.start=run:FOLDER, or set student.name=run:FOLDER."
        )


def _refuse_teacher(recipe: Recipe, method: str) -> None:
    """Refuse a teacher that is missing, or that shows less than the method looks at."""
    if takes(recipe, "teacher") and recipe.teacher is None:
        raise UserError(f"{method} needs a teacher: add a `teacher:` section to the recipe.")
    if method_class(recipe).scales != "none" and recipe.teacher and recipe.teacher.grid == 1:
        raise UserError(
            f"{method} needs the teacher's maps: set teacher.grid above 1, or leave it."
        )


def _refuse_tasks(recipe: Recipe, method: str, tasks: Sequence[str]) -> None:
    """Refuse several roots where one is trained, and a name that several have in common."""
    if len(tasks) > 1 and not takes(recipe, "tasks"):
        raise UserError(
            f"{method} trains one task, but the recipe has {len(tasks)} roots: {', '.join(tasks)}."
        )
    for taken, what in ((SHARED, "what several tasks have in common"), ("all", "all of them")):
        # Of one task "all" is all there is.
        if taken in tasks and (taken == SHARED or len(tasks) > 1):
            raise UserError(
                f"A root is called {taken!r}, as is {what}. Rename data.roots.{taken} (of a single "
                "root: data.name)."
            )


def _refuse_unnamed_weights(source: StudentSource, method: str) -> None:
    """Adapters in a network that knows nothing must be asked for by name."""
    named = source.start or source.name.startswith(RUN) or "weights" in source.model_fields_set
    if not named:
        raise UserError(
            f"{method} tunes a foundation model, but student.weights is missing: name "
            f"{source.name}'s weight file, `pretrained` (when online), or `random` for a network "
            "that knows nothing. A run is named by student.name=run:FOLDER."
        )


def _listed(root: Root) -> tuple[Layout, list[Sample]]:
    layout = open_root(root.root, root.layout, root.task)
    samples = layout.samples()
    if root.patient_pattern:
        samples = with_patients(samples, root.patient_pattern)
    return layout, samples
