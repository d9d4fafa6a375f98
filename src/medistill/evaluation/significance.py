"""Whether two networks differ, judged on the same samples."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from medistill.errors import UserError
from medistill.evaluation.intervals import interval
from medistill.evaluation.judge import labelled, measure, question_of, resample, rows
from medistill.evaluation.operating import OperatingPoint
from medistill.results import PredictionTable


@dataclass(frozen=True)
class Difference:
    """How far one network lies above another in a metric.

    Args:
        value: First minus second; None where the metric is undefined for one of them.
        low: Lower end of the 95 % interval of the paired bootstrap.
        high: Upper end.
        p: Two-sided share of draws on the other side of zero; at least 1 / (draws + 1).
        sd: Standard deviation over the seeds that both have; None for one.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    sd: float | None = None


def paired_differences(
    first: PredictionTable,
    second: PredictionTable,
    operating: tuple[OperatingPoint | None, OperatingPoint | None] = (None, None),
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Differences in every metric that both have, with both networks judged on each draw.

    Patients are drawn where the first table knows them.

    Args:
        first: Predictions of the one network.
        second: Predictions of the other, on the same samples in any order.
        operating: Each network's own operating point.
        draws: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        UserError: The tables are not about the same samples.
    """
    pair = paired(first, second)
    questions = tuple(map(question_of, pair, operating))
    once = np.ones((1, len(pair[0])))
    values = [measure(*both, once) for both in zip(pair, questions, strict=True)]
    # Both resample by the first one's patients and by one seed: the very same draws.
    drawn = [resample(*both, draws, seed) for both in zip(pair, questions, strict=True)]
    return {
        name: difference(
            values[0][name][0] - values[1][name][0],
            drawn[0][name] - drawn[1][name] if drawn[0] else np.empty(0),
        )
        for name in values[0]
        if name in values[1]
    }


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: p-values of several comparisons, as if each were the only one.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    corrected: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(chances, key=lambda name: chances[name])):
        # None may come out smaller than one that is more certain.
        largest = max(largest, min(1.0, (len(chances) - place) * chances[name]))
        corrected[name] = largest
    return corrected


def paired(
    first: PredictionTable, second: PredictionTable
) -> tuple[PredictionTable, PredictionTable]:
    """The labelled rows of both tables, sample by sample, with the first one's patients.

    Raises:
        UserError: Classes, samples or targets differ.
    """
    first, second = labelled(first), labelled(second)
    if first.classes != second.classes:
        raise UserError(
            f"Cannot compare task {first.task!r}: classes {', '.join(first.classes)} "
            f"against {', '.join(second.classes)}."
        )
    place = {key: row for row, key in enumerate(_keys(second))}
    keys = _keys(first)
    shared = sum(key in place for key in keys)
    if not shared == len(first) == len(second):
        raise UserError(
            f"Cannot compare task {first.task!r}: the runs share {shared} of {len(first)} and "
            f"{len(second)} {first.split} samples; train both on the same splits."
        )
    second = rows(second, np.array([place[key] for key in keys], dtype=int))
    return first, replace(second, groups=first.groups)


def difference(value: float, drawn: Float[np.ndarray, " draws"]) -> Difference:
    """A difference with what its paired draws say of it; none where it is undefined."""
    draws = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(draws):
        return Difference(None if np.isnan(value) else float(value), None, None, None)
    low, high = interval(draws)
    # The 1 counts the data itself as a draw: a thousand draws never prove a p of 0.
    sides = 1 + min((draws <= 0).sum(), (draws >= 0).sum())
    return Difference(float(value), low, high, min(1.0, 2 * float(sides) / (len(draws) + 1)))


def _keys(table: PredictionTable) -> list[tuple[str, int, int]]:
    """A name for each row: identical images with one label are told apart by their order."""
    seen: dict[tuple[str, int], int] = {}
    keys = []
    for pair in zip(table.samples, table.targets.tolist(), strict=True):
        seen[pair] = seen.get(pair, -1) + 1
        keys.append((*pair, seen[pair]))
    return keys
