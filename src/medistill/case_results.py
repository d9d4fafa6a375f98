"""What a segmentation network made of each volume: written by evaluation, read by reports.

`cases.csv` has a row for each case and class. A case is known by the digest of its image and the
number of its patient within the task, and by no name.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from medistill.results import replacing

Labels = UInt8[np.ndarray, "..."]
"""A label map `(x, y, z)`, 0 for the background and then the classes in order; or a mask for each
class, `(class, x, y, z)`, which may overlap."""


@dataclass(frozen=True)
class Score:
    """How well one class was outlined in one volume.

    Args:
        dice: Dice similarity coefficient, in [0, 1].
        surface_dice: Share of both surfaces that lie within the tolerance of each other.
        hd95_mm: 95th percentile of the distances between the surfaces, the larger of both
            directions; None where either is empty.
        truth_ml: Volume of the true mask.
        predicted_ml: Volume of the predicted mask.
    """

    dice: float
    surface_dice: float
    hd95_mm: float | None
    truth_ml: float
    predicted_ml: float


@dataclass(frozen=True)
class CaseResult:
    """One volume, and how well each of its annotated classes was outlined.

    Args:
        task: Name of the task.
        split: Name of the split.
        sample: Digest of the image.
        group: Number of the patient, counted from 0 within the task, or -1: it tells who belongs
            together and nothing else.
        scores: By class; a class that nobody annotated in this volume is left out.
        modality: `ct` or `mr`; empty where nothing says it.
        dataset: Which of the data sets that a task joins it comes from; empty for a task of one.
    """

    task: str
    split: str
    sample: str
    group: int
    scores: Mapping[str, Score]
    modality: str = ""
    dataset: str = ""

    @property
    def dice(self) -> float:
        """Mean over its classes."""
        return sum(score.dice for score in self.scores.values()) / len(self.scores)


def mask_of(labels: Labels, place: int) -> Bool[np.ndarray, "x y z"]:
    """Where the class of some place is."""
    return np.asarray(labels[place] > 0 if labels.ndim == 4 else labels == place + 1, bool)


_COLUMNS = ["task", "split", "case", "sample", "group", "dataset", "modality", "class"]
_MEASURED = ["dice", "nsd", "hd95_mm", "truth_ml", "predicted_ml"]


def write_cases(path: Path, cases: Sequence[CaseResult]) -> None:
    """Write `cases.csv`: a row for each case and class, numbers as exact as they are."""
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS + _MEASURED)
        for number, case in enumerate(cases):
            writer.writerows(_rows(number, case))


def read_cases(path: Path) -> list[CaseResult]:
    """Read `cases.csv`: the cases in the order of the file."""
    found: dict[str, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            # A number of its own: identical images share a digest.
            found.setdefault(row["case"], []).append(row)
    return [_case(rows) for rows in found.values()]


def _rows(number: int, case: CaseResult) -> Iterator[list[object]]:
    for name, score in case.scores.items():
        known = [case.task, case.split, number, case.sample, case.group, case.dataset]
        known += [case.modality, name]
        measured = [score.dice, score.surface_dice, score.hd95_mm, score.truth_ml]
        yield [*known, *measured, score.predicted_ml]


def _case(rows: Sequence[Mapping[str, str]]) -> CaseResult:
    first = rows[0]
    scores = {row["class"]: _score(row) for row in rows}
    return CaseResult(
        task=first["task"],
        split=first["split"],
        sample=first["sample"],
        group=int(first["group"]),
        scores=scores,
        # Which earlier versions did not tell.
        modality=first.get("modality", ""),
        dataset=first.get("dataset", ""),
    )


def _score(row: Mapping[str, str]) -> Score:
    far = float(row["hd95_mm"]) if row["hd95_mm"] else None
    dice, surface, _, truth, predicted = (float(row[name] or 0) for name in _MEASURED)
    return Score(dice, surface, far, truth, predicted)
