"""What the networks of several tasks have in common, and what each knows alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medistill.analysis.disentanglement import (
    Disentanglement,
    mutual_information_gap,
    principal_components,
)
from medistill.analysis.similarity import cka_matrix, covariance_similarity
from medistill.assemble import run_folder, takes
from medistill.data.opening import Opened
from medistill.errors import UserError
from medistill.losses.similarity import MINIMUM_ROWS
from medistill.models.deployed import load_deployed, read_config
from medistill.models.networks import Student
from medistill.recipe import read_recipe
from medistill.report.evidence import Evidence, distinct_names
from medistill.report.plates import similarity_plate
from medistill.report.wording import listed
from medistill.results import SHARED, RunFolder, read_known
from medistill.runs.console import Console
from medistill.runs.features import see
from medistill.runs.images import open_images
from medistill.runs.overlays import draw_overlays
from medistill.runs.refusing import refuse_unfinished
from medistill.runs.subjects import TEACHER, Looked, Subject, images_of, refuse_incomparable
from medistill.training.devices import place

PROBES = 256  # images of each task that all networks see; of fewer, as many as the smallest has
BATCH = 64
DIRECTIONS = (10, 20)  # principal ones: of a thousand redundant features none stands out


@dataclass(frozen=True)
class Panel:
    """The networks of one run, by task.

    Args:
        name: Of the run, or that it taught.
        networks: In evaluation mode.
        temperatures: Divide their logits.
        taught: Whether it is the foundation model: a run may bear any name, its own too.
        backbone: Name of the backbone that the run deployed as what its networks share.
    """

    name: str
    networks: Mapping[str, Student]
    temperatures: Mapping[str, float]
    taught: bool = False
    backbone: str | None = None

    @property
    def alike(self) -> bool:
        """Whether all tasks have one encoder, so that there is nothing to compare."""
        first, *others = (network.encoder.state_dict() for network in self.networks.values())
        return all(
            torch.equal(tensor.cpu(), other[name].cpu())
            for other in others
            for name, tensor in first.items()
        )

    @property
    def one_space(self) -> bool:
        """Whether a feature of one task is that feature of another: experts share a backbone.

        Networks that were trained apart have dimensions of their own, and so has a pair, whose
        common backbone is deployed too but is another network than the pair.
        """
        names = {network.backbone.spec.name for network in self.networks.values()}
        return self.alike or names == {self.backbone}


def look_at_experts(
    runs: Sequence[RunFolder],
    *,
    split: str,
    overlays: int,
    folder: Path,
    device: torch.device,
    console: Console,
) -> dict[str, Any]:
    """Compare the networks of each run with one another, task by task, as plain values.

    Args:
        runs: With the same tasks; the images of the first are looked at.
        split: Which images.
        overlays: Images in all whose evidence is drawn.
        folder: Where pictures go.
        device: Where to compute.
        console: Where to say what happens.

    Raises:
        UserError: The runs do not compare, or hold no networks of several tasks.
    """
    opened = _opened(runs, split, console)
    panels = list(_panels(runs, opened, device))
    rows = _probes(opened, split)
    found = []
    for number, panel in enumerate(panels):
        with console.track(f"{panel.name}, experts", len(opened)) as advance:
            found.append(_of_panel(panel, opened, rows, device, advance))
        similarity_plate(
            {"names": list(opened), "cka": found[-1]["cka"], "images": found[-1]["images"]},
            folder / f"experts-{number + 1}.png",
        )
    return {
        "split": split,
        "tasks": list(opened),
        "images": len(next(iter(rows.values()))),
        "panels": found,
        "overlays": _overlays(panels, opened, split, overlays, folder, device, console),
        "cost": costs(runs),
    }


def several_tasks(runs: Sequence[RunFolder]) -> bool:
    """Whether every run deployed networks of the same several tasks."""
    tasks = {tuple(run.tasks()) for run in runs}
    return len(tasks) == 1 and len(tasks.pop()) > 1


def costs(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """Foundation model, each run's networks as they are deployed, and its experts not folded in."""
    lines: dict[str, dict[str, Any]] = {}
    met: list[dict[str, Any]] = []
    for run, name in zip(runs, distinct_names(map(Evidence, runs)), strict=True):
        known = read_known(run.cost)
        teacher = known.get("teacher") or {}
        if teacher and teacher["macs"] not in [line["macs"] for line in met]:
            lines[f"{TEACHER} of {name}" if met else TEACHER] = teacher
            met.append(teacher)
        lines |= _forms(known, name, len(run.tasks()))
    return [{**line, "name": words} for words, line in lines.items() if line]


def _forms(known: Mapping[str, Any], name: str, tasks: int) -> dict[str, dict[str, Any]]:
    """What a run's networks cost, by what is kept of them; empty where nobody measured."""
    several, unfused = f"{name}, all {tasks} tasks", known.get("unfused") or {}
    ranks = [str(rank) for rank in unfused.get("ranks", ())]
    of_rank = f" of rank {listed(ranks)}" if ranks else ""
    return {
        f"{name}, one task": known.get("student") or {},
        f"{several}, as deployed": known.get("together") or {},
        f"{several}, experts{of_rank} not folded in": unfused,
    }


def _opened(runs: Sequence[RunFolder], split: str, console: Console) -> dict[str, Opened]:
    """The labelled images of every task, of the first run."""
    refuse_unfinished(runs)
    tasks = runs[0].tasks()
    for task in tasks:
        refuse_incomparable(runs, [task] * len(runs), split)
    found = {
        one.dataset.task.name: one
        for one in open_images(read_recipe(runs[0].recipe), runs[0], console)
    }
    opened = {name: one for name, one in found.items() if name in tasks}
    fewest = max(2, -(-MINIMUM_ROWS // len(opened)))
    for name, one in opened.items():
        if len(_labelled(one, split)) < fewest:
            raise UserError(
                f"{name}: the split {split!r} has fewer than {fewest} labelled images. Try "
                "--split train, or one task by --task."
            )
    return opened


def _panels(
    runs: Sequence[RunFolder], opened: Mapping[str, Opened], device: torch.device
) -> list[Panel]:
    """The foundation model that taught, where it judges these tasks, then the runs as named."""
    classes = {name: list(one.dataset.task.classes) for name, one in opened.items()}
    teachers = {}
    for folder in filter(None, map(_taught_by, runs)):
        if folder not in teachers and set(opened) <= set(RunFolder(folder).tasks()):
            found = _panel(RunFolder(folder), TEACHER, opened, device)
            teachers[folder] = replace(found, taught=True)
    names = distinct_names(map(Evidence, runs))
    students = [_panel(run, name, opened, device) for run, name in zip(runs, names, strict=True)]
    panels = [*teachers.values(), *students]
    return [
        panel
        for panel in panels
        if all(panel.networks[n].head.out_features == len(c) for n, c in classes.items())
    ]


def _taught_by(run: RunFolder) -> Path | None:
    """The run that taught another; None where no run did."""
    recipe = read_recipe(run.recipe)
    if recipe.teacher is None or not takes(recipe, TEACHER):
        return None
    return run_folder(recipe.teacher.name)


def _panel(run: RunFolder, name: str, opened: Mapping[str, Opened], device: torch.device) -> Panel:
    networks, temperatures = {}, {}
    for task in opened:
        network, config = load_deployed(run.deployed(task).path)
        place(network.eval().requires_grad_(False), device)
        networks[task] = network
        temperatures[task] = float(config.get("temperature") or 1)
    shared = run.deployed(SHARED)
    found = read_config(shared.path)["backbone"]["name"] if shared.config.exists() else None
    return Panel(name, networks, temperatures, backbone=found)


def _labelled(one: Opened, split: str) -> NDArray[np.int64]:
    """Rows with a label, in an order that no file's name decides."""
    rows = one.dataset.splits.get(split, np.empty(0, np.int64))
    known = rows[one.dataset.targets[rows] >= 0]
    return np.array(sorted(known, key=lambda row: one.digests[row]), dtype=np.int64)


def _probes(opened: Mapping[str, Opened], split: str) -> dict[str, NDArray[np.int64]]:
    """As many images of each task: which, no run and no method decides."""
    rows = {name: _labelled(one, split) for name, one in opened.items()}
    count = min(PROBES, *(len(each) for each in rows.values()))
    return {name: each[:count] for name, each in rows.items()}


def _of_panel(
    panel: Panel,
    opened: Mapping[str, Opened],
    rows: Mapping[str, NDArray[np.int64]],
    device: torch.device,
    advance: Any,
) -> dict[str, Any]:
    """Similarity of a run's networks on common images, and on each one's own; the gap.

    Covariances compare dimension by dimension: they say nothing where each network has its own.
    """
    features = {}
    for number, task in enumerate(opened):
        features[task] = _features(panel.networks[task], opened, rows, device)
        advance(number + 1, "")
    count = len(next(iter(rows.values())))
    own = [features[task][n * count : (n + 1) * count] for n, task in enumerate(opened)]
    alike = panel.alike
    matrix = torch.ones(len(own), len(own)) if alike else cka_matrix(list(features.values()))
    return {
        "name": panel.name,
        "images": len(own) * count,
        "one_encoder": alike,
        "cka": matrix.tolist(),
        "covariance": covariance_similarity(own).tolist() if panel.one_space else None,
        "gap": _gaps(torch.cat(own), _factors(opened, rows)),
    }


@torch.inference_mode()
def _features(
    network: Student,
    opened: Mapping[str, Opened],
    rows: Mapping[str, NDArray[np.int64]],
    device: torch.device,
) -> Tensor:
    """Pooled features of all probes, task after task, by one network."""
    found = [
        network.encoder(images_of(one, part).to(device)).features.float().cpu()
        for name, one in opened.items()
        for part in np.array_split(rows[name], max(1, -(-len(rows[name]) // BATCH)))
    ]
    return torch.cat(found)


def _factors(
    opened: Mapping[str, Opened], rows: Mapping[str, NDArray[np.int64]]
) -> dict[str, Tensor]:
    """Facts of each probe: its task; and its class, of which other tasks know nothing."""
    count = len(next(iter(rows.values())))
    factors = {"task": torch.arange(len(opened)).repeat_interleave(count)}
    for number, (name, one) in enumerate(opened.items()):
        targets = one.dataset.targets[rows[name]]
        if len(np.unique(targets)) > 1:
            own = torch.full((len(opened) * count,), -1)
            own[number * count : (number + 1) * count] = torch.from_numpy(targets)
            factors[f"class of {name}"] = own
    return factors


def _gaps(features: Tensor, factors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """The gap of all features, and of the directions in which they vary most."""
    kinds = {"all features": features}
    for count in DIRECTIONS:
        if count < min(features.shape):
            kinds[f"{count} principal directions"] = principal_components(features, count)
    found = {name: mutual_information_gap(kind, factors) for name, kind in kinds.items()}
    return {name: _told(gap) for name, gap in found.items()}


def _told(gap: Disentanglement) -> dict[str, Any]:
    return {"gap": gap.gap, "by_factor": gap.by_factor, "chance": gap.chance}


def _overlays(
    panels: Sequence[Panel],
    opened: Mapping[str, Opened],
    split: str,
    count: int,
    folder: Path,
    device: torch.device,
    console: Console,
) -> dict[str, Any]:
    """For each task some images under the evidence that every run's network of it saw."""
    found = {}
    each = -(-count // len(opened)) if count else 0
    # The teacher comes first among panels; whose call is explained is the first run's.
    first = next(number for number, panel in enumerate(panels) if not panel.taught)
    for number, (task, one) in enumerate(opened.items() if each else ()):
        subjects = tuple(
            Subject(panel.name, panel.networks[task], True, panel.temperatures[task])
            for panel in panels
        )
        own = subjects[first]
        looked = Looked(task, one.dataset.task.classes, split, one, subjects, own)
        (seen,) = see(Looked(task, looked.classes, split, one, (own,), own), device, console)
        place_ = folder / "experts" / str(number + 1)
        found[task] = draw_overlays(looked, seen, each, place_, device, console)
    return found
