"""`analyze`: why a student says what it says, and how far it is like its teacher."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medistill.errors import UserError
from medistill.report.experts import EXPERTS
from medistill.report.page import write_page
from medistill.report.plates import plane_plate, similarity_plate
from medistill.results import RunFolder, read_known, write_json
from medistill.runs.console import Console
from medistill.runs.experts import look_at_experts, several_tasks
from medistill.runs.features import compare, see
from medistill.runs.load import outlines
from medistill.runs.overlays import draw_overlays
from medistill.runs.planes import Survey, divide, lay
from medistill.runs.report import report
from medistill.runs.subjects import Looked, gather
from medistill.training.devices import choose_device

# Points along each edge of the planes whose scores are averaged: 50 are the paper's. On a processor
# 500 planes of 5 x 5 are some minutes of MobileNetV2 at 224, and one of ShuffleNetV2 at 112.
GRIDS = {"cpu": 5, "cuda": 50}


@dataclass(frozen=True)
class Depth:
    """How much is looked at.

    Args:
        triplets: Planes whose scores are averaged; 0 leaves the boundaries out.
        grid: Points along each edge of these; by default 5 on a processor, 50 on a GPU.
        plot: Points along each edge of the one plane that is drawn.
        overlays: Images whose evidence is drawn; 0 leaves them out.
    """

    triplets: int = 500
    grid: int | None = None
    plot: int = 40
    overlays: int = 8


def analyze(
    runs: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    split: str = "test",
    task: str | None = None,
    depth: Depth = Depth(),
    device: str = "auto",
    console: Console | None = None,
) -> Path:
    """Compare runs with one another and with their teachers, on the images of the first.

    Of runs that deployed several tasks, and where none of them is named, the networks of the tasks
    are compared with one another instead.

    What takes long is kept in `parts/`: the same command goes on where it was stopped.

    Args:
        runs: Folders of finished runs with the same classes and images.
        out: Where numbers, pictures and page go; by default into the first run, whose page then
            has a section more.
        split: Which images.
        task: Which task, if the runs have several; by default their experts are looked at.
        depth: How much is looked at.
        device: Where to compute.
        console: Where to say what happens.

    Returns:
        The page.

    Raises:
        UserError: The runs do not compare, or there is nothing to look at.
    """
    folders, console = [RunFolder(Path(run)) for run in runs], console or Console()
    place = Path(out) if out is not None else folders[0].analysis.parent
    _refuse_place(place)
    _refuse_outlines(folders)
    where = choose_device(device)
    if task is None and several_tasks(folders):
        experts = look_at_experts(
            folders, split=split, overlays=depth.overlays, folder=place, device=where,
            console=console,
        )  # fmt: skip
        write_json(place / EXPERTS, experts)
    else:
        looked = gather(folders, task, split, where, console)
        document = _document(looked, depth, place, where, console)
        write_json(place / folders[0].analysis.name, document)
    console.say(f"numbers and pictures: {place}")
    if out is not None:
        page = write_page(folders[0], folders[1:], analysed=place)
        console.say(f"report: {page}")
        return page
    return report(folders[0].path, against=_against(folders), console=console)


def _document(
    looked: Looked, depth: Depth, place: Path, device: torch.device, console: Console
) -> dict[str, Any]:
    """All that is found, each part with its pictures."""
    document: dict[str, Any] = {
        "task": looked.task, "split": looked.split, "classes": looked.classes,
    }  # fmt: skip
    # What the planes cannot be laid through is refused before anything takes long.
    surveys = _surveys(looked, depth, place / "parts", device)
    seen = see(looked, device, console)
    document["similarity"] = similarity = compare(looked, seen)
    if similarity is not None and len(looked.subjects) > 1:
        similarity_plate(similarity, place / "similarity.png")
    if depth.overlays:
        own = seen[looked.subjects.index(looked.first)]
        document["overlays"] = draw_overlays(
            looked, own, depth.overlays, place / "overlays", device, console
        )
    if surveys is not None:
        document["boundaries"] = divide(*surveys, console)
        plane_plate(document["boundaries"], looked.classes, place / "boundaries.png")
    return document


def _surveys(
    looked: Looked, depth: Depth, folder: Path, device: torch.device
) -> tuple[Survey, Survey] | None:
    """The planes that are asked for; None without any."""
    if not depth.triplets:
        return None
    return lay(
        looked,
        count=depth.triplets,
        grid=depth.grid or GRIDS.get(device.type, GRIDS["cpu"]),
        plot=depth.plot,
        folder=folder,
        device=device,
    )


def _refuse_place(place: Path) -> None:
    """Find out before hours of work that nothing can be written there."""
    found = next(each for each in (place, *place.absolute().parents) if each.exists())
    if not found.is_dir():
        raise UserError(f"{found} is a file. Choose another --out.")
    if not os.access(found, os.W_OK):
        raise UserError(f"{found} cannot be written. Choose another --out.")


def _refuse_outlines(runs: Sequence[RunFolder]) -> None:
    """Refuse runs whose networks tell no classes of images apart."""
    for run in runs:
        if any(outlines(run, task) for task in run.tasks()):
            raise UserError(
                f"{run.path} outlines organs in volumes; `analyze` looks at networks that tell "
                "images apart. Its report shows slices and worst cases."
            )


def _against(runs: Sequence[RunFolder]) -> list[Path]:
    """The other runs, and those that the page was compared with before."""
    known = read_known(runs[0].differences)
    paths: Iterable[Path] = (*(run.path for run in runs[1:]), *map(Path, known))
    found: dict[Path, Path] = {}
    for path in paths:
        found.setdefault(path.resolve(), path)
    return [path for path in found.values() if RunFolder(path).finished]
