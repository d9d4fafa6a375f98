"""All metrics of one task and split, each with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from medistill.evaluation.intervals import bootstrap, flawless_interval, interval, joined, units
from medistill.evaluation.metrics import counts, ranking, reliability
from medistill.evaluation.operating import OperatingPoint, positive_class
from medistill.results import Estimate, PredictionTable

Values = dict[str, Float[np.ndarray, " draws"]]
AT_THRESHOLD: Final = "at_threshold"


@dataclass(frozen=True)
class Question:
    """How a table is read.

    Args:
        positive: Index of the class to find; None where no class stands out.
        threshold: Probability from which it is called; None to judge no operating point.
    """

    positive: int | None
    threshold: float | None


def judge(
    table: PredictionTable,
    operating: OperatingPoint | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Metrics of the labelled samples of a table, with 95 % intervals.

    A mean over classes is over those that have samples, in each draw anew; what stays undefined is
    None, and so is an interval when a single patient leaves nothing to draw. A share of 0 or 1 has
    its exact interval; a flawless area or mean over classes keeps one without width. AUROC and
    average precision are the positive class's for two classes, else the mean of one class against
    the rest.

    Args:
        table: Predictions of one task and split.
        operating: Fitted on validation; adds sensitivity and specificity at its threshold.
        draws: Of the bootstrap; 0 for values alone.
        seed: Of the bootstrap.
    """
    table, question = labelled(table), question_of(table, operating)
    values = measure(table, question, np.ones((1, len(table))))
    drawn = resample(table, question, draws, seed) if draws else {}
    shares = shares_of(table, question)
    estimates = {}
    for name, (value,) in values.items():
        low, high = np.nan, np.nan
        if name in drawn:
            low, high = _interval(value, drawn[name], table, shares.get(name))
        estimates[name] = Estimate(value=_known(value), low=_known(low), high=_known(high))
    return estimates


def labelled(table: PredictionTable) -> PredictionTable:
    """The rows of a table that have a target."""
    return rows(table, np.flatnonzero(table.targets >= 0))


def rows(table: PredictionTable, chosen: np.ndarray) -> PredictionTable:
    """Some rows of a table, in the order they are chosen."""
    return PredictionTable(
        table.task,
        table.split,
        table.classes,
        tuple(table.samples[row] for row in chosen.tolist()),
        table.targets[chosen],
        table.probabilities[chosen],
        table.groups[chosen],
    )


def question_of(table: PredictionTable, operating: OperatingPoint | None) -> Question:
    """The positive class and its threshold: those of an operating point, else of the names."""
    positive = operating.positive if operating else positive_class(table.classes)
    index = None if positive is None else table.classes.index(positive)
    return Question(index, operating.threshold if operating else None)


def measure(
    table: PredictionTable, question: Question, weights: Float[np.ndarray, "draws samples"]
) -> Values:
    """Every metric of a labelled table under each weighting of its samples."""
    targets, probabilities = table.targets, table.probabilities.astype(float)
    decided = counts.count(targets, table.predicted, weights, len(table.classes))
    sensitivity, specificity = counts.sensitivity(decided), counts.specificity(decided)
    return {
        "accuracy": counts.accuracy(decided),
        "balanced_accuracy": counts.balanced_accuracy(decided),
        "macro_f1": counts.macro_f1(decided),
        **_ranking(table, question, weights),
        **{f"sensitivity/{name}": sensitivity[:, i] for i, name in enumerate(table.classes)},
        **{f"specificity/{name}": specificity[:, i] for i, name in enumerate(table.classes)},
        **_at_threshold(table, question, weights),
        "expected_calibration_error": reliability.expected_calibration_error(
            probabilities, targets, weights
        ),
        "negative_log_likelihood": reliability.negative_log_likelihood(
            probabilities, targets, weights
        ),
        "brier": reliability.brier(probabilities, targets, weights),
    }


def resample(table: PredictionTable, question: Question, draws: int, seed: int) -> Values:
    """Every metric in each draw of the bootstrap; empty when there is but one thing to draw."""
    if len(np.unique(units(table.groups))) < 2:
        return {}
    every = bootstrap(table.groups, draws, seed)
    return joined([measure(table, question, weights) for weights in every])


def _interval(
    value: float,
    drawn: Float[np.ndarray, " draws"],
    table: PredictionTable,
    among: Bool[np.ndarray, " samples"] | None,
) -> tuple[float, float]:
    """That of the draws; of a share of 0 or 1, whose draws are all alike, the exact one."""
    if among is not None and value in (0, 1):
        return flawless_interval(value, len(np.unique(units(table.groups)[among])))
    return interval(drawn)


def _ranking(
    table: PredictionTable, question: Question, weights: Float[np.ndarray, "draws samples"]
) -> Values:
    curves = [
        ranking.curve(table.probabilities[:, index].astype(float), table.targets == index, weights)
        for index in _ranked(table, question)
    ]
    areas = np.stack([ranking.auroc(curve) for curve in curves], axis=1)
    precisions = np.stack([ranking.average_precision(curve) for curve in curves], axis=1)
    return {
        "auroc": counts.mean_of_defined(areas),
        "average_precision": counts.mean_of_defined(precisions),
    }


def _ranked(table: PredictionTable, question: Question) -> Sequence[int]:
    """Classes that have a curve: of two the rest is the other class, and one curve says it all."""
    every = range(len(table.classes))
    return every if len(every) != 2 or question.positive is None else [question.positive]


def _at_threshold(
    table: PredictionTable, question: Question, weights: Float[np.ndarray, "draws samples"]
) -> Values:
    if question.positive is None or question.threshold is None:
        return {}
    actual = (table.targets == question.positive).astype(int)
    # In float32 a threshold halfway between two neighbours would round onto one of them.
    scores = table.probabilities[:, question.positive].astype(float)
    called = (scores >= question.threshold).astype(int)
    decided = counts.count(actual, called, weights, 2)
    return {
        f"sensitivity_{AT_THRESHOLD}": counts.sensitivity(decided)[:, 1],
        f"specificity_{AT_THRESHOLD}": counts.specificity(decided)[:, 1],
    }


def shares_of(
    table: PredictionTable, question: Question
) -> dict[str, Bool[np.ndarray, " samples"]]:
    """Metrics that are a share of some samples, and which."""
    own = {name: table.targets == index for index, name in enumerate(table.classes)}
    shares = {"accuracy": table.targets >= 0}
    shares |= {f"sensitivity/{name}": mask for name, mask in own.items()}
    shares |= {f"specificity/{name}": ~mask for name, mask in own.items()}
    if question.positive is not None:
        mask = own[table.classes[question.positive]]
        shares |= {f"sensitivity_{AT_THRESHOLD}": mask, f"specificity_{AT_THRESHOLD}": ~mask}
    return shares


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
