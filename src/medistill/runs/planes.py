"""How networks divide planes through test images, asked once and kept: a stop loses little."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medistill.analysis.boundaries import (
    InputSpace,
    Plane,
    agreement,
    agreement_by_chance,
    classify,
    fragments,
    triplets,
)
from medistill.errors import UserError
from medistill.models.weights import digest
from medistill.results import replacing
from medistill.runs.console import Advance, Console
from medistill.runs.subjects import Looked, Subject, images_of

KEPT = 10  # planes between two writings of what was found
PACED = 8  # side of the grid by which a network's speed is measured


@dataclass(frozen=True)
class Survey:
    """Planes through three images each, and the grid over them.

    Args:
        looked: Holds the images.
        rows: Of the three images of each plane.
        side: Points along each edge of the grid.
        space: What the planes are laid in.
        folder: Keeps what was found.
        device: Where the networks lie.
    """

    looked: Looked
    rows: Sequence[Sequence[int]]
    side: int
    space: InputSpace
    folder: Path
    device: torch.device

    def plane(self, number: int) -> Plane | None:
        """One of the planes; None where its images lie on a line."""
        images = images_of(self.looked.opened, self.rows[number]).to(self.device)
        return Plane.through(*self.space.enter(images))

    def without_lines(self) -> "Survey":
        """Those planes that are planes: three images may be alike, or blank.

        Raises:
            UserError: There is none.
        """
        kept = [three for n, three in enumerate(self.rows) if self.plane(n) is not None]
        if not kept:
            raise UserError(f"{self.looked.task}: its {self.looked.split} images are all alike.")
        return replace(self, rows=kept)

    def ask(self, subject: Subject, advance: Advance) -> Tensor:
        """The class that a network calls each point; what an earlier attempt found is not asked.

        Args:
            subject: Has a network that answers.
            advance: Told how many points are done.
        """
        found, file = self.kept(subject), self._file(subject)
        while len(found) < len(self.rows):
            numbers = range(len(found), min(len(found) + KEPT, len(self.rows)))
            found = torch.cat([found, self._call(subject, numbers)])
            with replacing(file) as draft:
                np.save(draft, found.numpy())
            advance(found.numel(), "")
        return found.long()

    def kept(self, subject: Subject) -> Tensor:
        """What an earlier attempt found of a network; a file that is damaged holds nothing."""
        try:
            found = torch.from_numpy(np.load(self._file(subject)))
            return found.view(-1, self.side, self.side).short()
        except (OSError, ValueError, EOFError, TypeError, RuntimeError):
            return torch.empty(0, self.side, self.side, dtype=torch.short)

    def pace(self, subject: Subject) -> float:
        """Seconds that a network needs for an image."""
        assert subject.network is not None
        plane = self.plane(0)
        assert plane is not None
        for _ in range(2):  # the first warms it up
            started = time.perf_counter()
            classify(subject.network, [plane], PACED, self.space)
        return (time.perf_counter() - started) / PACED**2

    def _call(self, subject: Subject, numbers: Iterable[int]) -> Tensor:
        assert subject.network is not None
        planes = [plane for number in numbers if (plane := self.plane(number)) is not None]
        return classify(subject.network, planes, self.side, self.space).short()

    def _file(self, subject: Subject) -> Path:
        """Named by all that decides what is found."""
        assert subject.network is not None
        encoder, digests = subject.encoder, self.looked.opened.digests
        facts = (
            digest(subject.network), asdict(encoder.backbone.spec), encoder.mean, encoder.std,
            encoder.size, [[digests[row] for row in three] for three in self.rows], self.side,
            asdict(self.space), self.looked.opened.dataset.store.key,
            *(["stretch"] if encoder.stretch else []),
        )  # fmt: skip
        return self.folder / f"{sha256(repr(facts).encode()).hexdigest()[:32]}.npy"


def lay(
    looked: Looked, *, count: int, grid: int, plot: int, folder: Path, device: torch.device
) -> tuple[Survey, Survey]:
    """Planes through images of the split, in the space of the first run's network.

    Args:
        looked: Holds the images.
        count: How many planes.
        grid: Points along each edge of these.
        plot: Points along each edge of the first, which is drawn.
        folder: Keeps what each network is asked.
        device: Where the networks lie.

    Returns:
        All planes, and the first of them on its own, finer grid.

    Raises:
        UserError: The images span no plane.
    """
    rows, encoder = looked.rows, looked.first.encoder
    try:
        drawn = triplets(looked.opened.dataset.targets[rows], count)
    except ValueError:
        raise UserError(
            f"{looked.task}: the {looked.split} split has no three images of two classes, through "
            "which a plane could be laid. Choose another --split, or --triplets 0."
        ) from None
    space = InputSpace(encoder.mean, encoder.std)
    three = [rows[each].tolist() for each in drawn]
    coarse = Survey(looked, three, grid, space, folder, device).without_lines()
    return coarse, replace(coarse, rows=coarse.rows[:1], side=plot)


def divide(coarse: Survey, fine: Survey, console: Console) -> dict[str, Any]:
    """Scores of every pair of networks that answer, and one plane to draw, as plain values.

    Args:
        coarse: The planes whose scores are averaged.
        fine: The plane that is drawn.
        console: Where to say how long it takes.
    """
    looked = coarse.looked
    _say_time([coarse, fine], looked.answering, console)
    called = [_asked([coarse, fine], subject, console) for subject in looked.answering]
    many, one = ([each[place] for each in called] for place in (0, 1))
    return {
        "planes": len(coarse.rows),
        "grid": coarse.side,
        "names": [subject.name for subject in looked.answering],
        "scores": [[_score(a, b) for b in many] for a in many],
        "regions": [fragments(each).double().mean().item() for each in many],
        "plane": _drawn(fine, one),
    }


def _say_time(surveys: Sequence[Survey], subjects: Sequence[Subject], console: Console) -> None:
    """The work ahead, and about how long it takes on this machine."""
    seconds, images = 0.0, 0
    for subject in subjects:
        left = sum(len(s.rows) * s.side**2 - s.kept(subject).numel() for s in surveys)
        images += left
        seconds += left * surveys[0].pace(subject) if left else 0
    coarse, fine = surveys
    grids = f"{len(coarse.rows)} planes of {coarse.side} x {coarse.side} points, one of {fine.side}"
    about = f"about {max(1, round(seconds / 60))} min" if images else "all known from before"
    console.say(f"boundaries: {grids} x {fine.side}; {images:,} images to classify, {about}")


def _asked(surveys: Sequence[Survey], subject: Subject, console: Console) -> list[Tensor]:
    found = []
    for survey, what in zip(surveys, ("planes", "one plane"), strict=True):
        known, total = survey.kept(subject).numel(), len(survey.rows) * survey.side**2
        with console.track(f"{subject.name}, {what}", total, begun=known) as advance:
            found.append(survey.ask(subject, advance))
    return found


def _score(a: Tensor, b: Tensor) -> dict[str, float]:
    """Reproducibility of two networks, with the 95 % interval of another draw of planes."""
    shares = agreement(a, b).double()
    value = shares.mean().item()
    # One plane alone says nothing about another draw.
    half = 1.96 * shares.std(correction=1).item() / len(shares) ** 0.5 if len(shares) > 1 else 1.0
    low, high = max(0.0, value - half), min(1.0, value + half)
    return {"value": value, "low": low, "high": high, "chance": agreement_by_chance(a, b)}


def _drawn(survey: Survey, called: Sequence[Tensor]) -> dict[str, Any]:
    """The first plane: where its images lie, and what each network calls its points."""
    plane, dataset = survey.plane(0), survey.looked.opened.dataset
    assert plane is not None
    return {
        "box": plane.box.tolist(),
        "images": [
            {"at": at, "class": survey.looked.classes[dataset.targets[row]]}
            for at, row in zip(plane.anchors.tolist(), survey.rows[0], strict=True)
        ],
        "called": [[" ".join(map(str, row)) for row in each[0].tolist()] for each in called],
    }
