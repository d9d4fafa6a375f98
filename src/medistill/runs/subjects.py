"""The networks that an analysis looks at: deployed students, and the teachers they learnt from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medistill.assemble import build_foundation, features_file, is_features, run_folder, takes
from medistill.data.opening import Opened
from medistill.errors import UserError
from medistill.models.deployed import load_deployed, read_config
from medistill.models.networks import Encoder, Student
from medistill.models.probes import Probe
from medistill.models.teachers import Precomputed
from medistill.recipe import Recipe, TeacherSource, read_recipe
from medistill.report.comparison import PROBE
from medistill.report.evidence import Evidence, distinct_names
from medistill.results import RunFolder, read_json
from medistill.runs.console import Console
from medistill.runs.load import only_task, own_images
from medistill.runs.refusing import refuse_unfinished
from medistill.training.devices import place
from medistill.types import Batch, Output

TEACHER = "teacher"


@dataclass(frozen=True)
class Subject:
    """A network under the name that tables and figures give it.

    Args:
        name: Of the run, or that it is the teacher.
        network: In evaluation mode; a file of features has none.
        answers: Whether its logits are of the classes of the task.
        temperature: Divides its logits.
        features: What is known where there is no network.
    """

    name: str
    network: Student | Encoder | None
    answers: bool
    temperature: float = 1.0
    features: Precomputed | None = None

    @property
    def encoder(self) -> Encoder:
        """The network without its head."""
        assert self.network is not None, "a file of features has none"
        return self.network.encoder if isinstance(self.network, Student) else self.network

    def ask(self, batch: Batch) -> Output:
        """What it says of a batch, without gradients."""
        with torch.inference_mode():
            if self.network is None:
                assert self.features is not None
                return self.features(batch)
            output: Output = self.network(batch.images)
            return output


@dataclass(frozen=True)
class Looked:
    """What is looked at.

    Args:
        task: Whose images and classes.
        classes: Names of them.
        split: Which images.
        opened: The images of the first run.
        subjects: Teachers first, then the runs as they were named.
        first: The subject of the first run.
    """

    task: str
    classes: tuple[str, ...]
    split: str
    opened: Opened
    subjects: tuple[Subject, ...]
    first: Subject

    @property
    def answering(self) -> list[Subject]:
        """Those that tell the classes apart."""
        return [subject for subject in self.subjects if subject.answers]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the labelled images, in an order that no file's name decides."""
        dataset, digests = self.opened.dataset, self.opened.digests
        rows = dataset.splits[self.split]
        return np.array(sorted(rows[dataset.targets[rows] >= 0], key=lambda row: digests[row]))


def gather(
    runs: Sequence[RunFolder], task: str | None, split: str, device: torch.device, console: Console
) -> Looked:
    """Open what is to be looked at, and refuse what does not compare before anything takes long.

    Args:
        runs: Finished ones; the images of the first are looked at.
        task: Which of their tasks, if they have several.
        split: Which images.
        device: Where the networks come to lie.
        console: Where to say what happens.

    Raises:
        UserError: A run is not finished, or not comparable with the first.
    """
    refuse_unfinished(runs)
    tasks = [only_task(run, task) for run in runs]
    refuse_incomparable(runs, tasks, split)
    opened = own_images(runs[0], tasks[0], console)
    if not len(opened.dataset.splits.get(split, ())):
        raise UserError(f"There is no image in the split {split!r}. Try --split train or test.")
    if not (opened.dataset.targets[opened.dataset.splits[split]] >= 0).any():
        raise UserError(f"{tasks[0]}: no image in the split {split!r} has a label to look at.")
    names = distinct_names(map(Evidence, runs))
    students = [_student(*each) for each in zip(runs, tasks, names, strict=True)]
    teachers = list(_teachers(runs, tasks, names, opened, console))
    for subject in (*teachers, *students):
        if subject.network is not None:
            place(subject.network.eval().requires_grad_(False), device)
    classes = opened.dataset.task.classes
    return Looked(tasks[0], classes, split, opened, (*teachers, *students), students[0])


def images_of(opened: Opened, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """Images of some rows in [0, 1], as networks take them."""
    stored = torch.from_numpy(opened.dataset.store.images[list(rows)])
    return stored.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).float() / 255


def refuse_incomparable(runs: Sequence[RunFolder], tasks: Sequence[str], split: str) -> None:
    """Classes, size and images must be those of the first run.

    Raises:
        UserError: They are not, or a run is named twice.
    """
    (first, *others), (own, *theirs) = runs, tasks
    config, images = read_config(first.deployed(own).path), _images(first, own, split)
    places = {first.path.resolve()}
    for other, task in zip(others, theirs, strict=True):
        said = f"{other.path} does not compare with {first.path}:"
        found = read_config(other.deployed(task).path)
        if other.path.resolve() in places:
            raise UserError(f"{other.path} is named twice.")
        if found["classes"] != config["classes"]:
            here, there = ", ".join(config["classes"]), ", ".join(found["classes"])
            raise UserError(f"{said} its classes are {there}, not {here}.")
        if found["size"] != config["size"]:
            raise UserError(
                f"{said} its images are of {found['size']} pixels, not {config['size']}."
            )
        others_images = _images(other, task, split)
        if images != others_images:
            both = f"{len(images & others_images)} of {len(images)} here and {len(others_images)}"
            raise UserError(f"{said} of the {split} images {both} there are shared.")
        places.add(other.path.resolve())


def _images(run: RunFolder, task: str, split: str) -> set[str]:
    images: dict[str, list[str]] = read_json(run.splits).get(task, {}).get("images", {})
    return {digest for digest, parts in images.items() if split in parts}


def _student(run: RunFolder, task: str, name: str) -> Subject:
    network, config = load_deployed(run.deployed(task).path)
    return Subject(name, network, bool(config["classes"]), float(config.get("temperature") or 1))


def _teachers(
    runs: Sequence[RunFolder],
    tasks: Sequence[str],
    names: Sequence[str],
    opened: Opened,
    console: Console,
) -> Iterator[Subject]:
    """Each teacher once; one whose weights are no longer there is said to be left out."""
    found: dict[str, tuple[str, Subject]] = {}
    for run, task, name in zip(runs, tasks, names, strict=True):
        recipe = read_recipe(run.recipe)
        source = recipe.teacher
        known = repr(source and source.model_dump(exclude={"cache", "grid"}))
        if source is None or not takes(recipe, TEACHER) or known in found:
            continue
        try:
            found[known] = name, _teacher(source, recipe, run, task, opened)
        except UserError as reason:
            console.warn(f"the teacher of {name} is left out: {reason}")
    for name, subject in found.values():
        of = f" of {name}" if len(found) > 1 else ""
        yield replace(subject, name=f"{subject.name}{of}")


def _teacher(
    source: TeacherSource, recipe: Recipe, run: RunFolder, task: str, opened: Opened
) -> Subject:
    """A teacher with its own head, where that knows the classes; else with its probe."""
    if is_features(source):
        prefix = f"{task}/" if len(recipe.data.roots) > 1 else ""
        sources = [f"{prefix}{sample.source}" for sample in opened.samples]
        return Subject(
            TEACHER, None, False, features=Precomputed.open(features_file(source), sources)
        )
    classes = opened.dataset.task.classes
    if judge := _judge(source, task, classes):
        return judge
    foundation = build_foundation(source, size=recipe.data.size)
    own = foundation.head if foundation.classes == classes else None
    if own is None and not run.probe.exists():
        return Subject(TEACHER, foundation.encoder, False)
    headed = Student(foundation.encoder, len(classes))
    headed.head = own or Probe.load(run.probe).as_linear()
    return Subject(TEACHER if own else PROBE, headed, True)


def _judge(source: TeacherSource, task: str, classes: tuple[str, ...]) -> Subject | None:
    """The network by which a run of several tasks judges this one itself, where it does."""
    folder = run_folder(source.name)
    tasks = RunFolder(folder).tasks() if folder else []
    if folder is None or task not in tasks or len(tasks) < 2:
        return None
    network, config = load_deployed(RunFolder(folder).deployed(task).path)
    if tuple(config["classes"]) != classes:
        return None
    return Subject(TEACHER, network, True, float(config.get("temperature") or 1))
