"""What the figures show, computed from predictions: ROC points, reliability, confusion."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from medistill.results import PredictionTable

BINS = 10
Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Roc:
    """A ROC curve, from the strictest threshold to the laxest.

    Args:
        name: What it is of.
        series: Its number, and so its colour.
        alarms: Share of the negatives that are called (1 - specificity).
        hits: Share of the positives that are called (sensitivity).
    """

    name: str
    series: int
    alarms: Float[np.ndarray, " points"]
    hits: Float[np.ndarray, " points"]

    @property
    def area(self) -> float:
        """Area under it."""
        return float(np.trapezoid(self.hits, self.alarms))


@dataclass(frozen=True)
class Bin:
    """Samples of like probability, and what became of them.

    Args:
        stated: Their mean probability.
        share: How many of them came true.
        low: Of that share's 95 % interval (Wilson).
        high: Of the same.
        count: How many they are.
    """

    stated: float
    share: float
    low: float
    high: float
    count: int


def roc(table: PredictionTable, index: int, name: str, series: int = 0) -> Roc | None:
    """The curve of one class against the rest; None where either has no sample."""
    positive = table.targets == index
    if positive.all() or not positive.any():
        return None
    scores = table.probabilities[:, index].astype(float)
    order = np.argsort(-scores, kind="stable")
    # Equal scores stand or fall together: only the last of each is a point.
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits, alarms = np.cumsum(positive[order])[last], np.cumsum(~positive[order])[last]
    start = np.zeros(1)
    return Roc(
        name,
        series,
        np.concatenate([start, alarms / alarms[-1]]),
        np.concatenate([start, hits / hits[-1]]),
    )


def operating_point(
    table: PredictionTable, index: int, threshold: float
) -> tuple[float, float] | None:
    """Share of false alarms and of hits at a threshold; None where either is undefined."""
    positive = table.targets == index
    if positive.all() or not positive.any():
        return None
    called = table.probabilities[:, index].astype(float) >= threshold
    return float(called[~positive].mean()), float(called[positive].mean())


def reliability(
    stated: Float[np.ndarray, " samples"], came_true: Bool[np.ndarray, " samples"]
) -> list[Bin]:
    """Bins of equal width over the probability that was stated; empty ones are left out."""
    place = np.clip(np.ceil(stated * BINS).astype(int) - 1, 0, BINS - 1)
    return [
        _bin(stated[place == number], came_true[place == number])
        for number in np.unique(place).tolist()
    ]


def confusion(table: PredictionTable) -> Int[np.ndarray, "actual called"]:
    """How many samples of each class (rows) were called what (columns)."""
    classes = len(table.classes)
    pairs = table.targets * classes + table.predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _bin(stated: Float[np.ndarray, " samples"], came_true: Bool[np.ndarray, " samples"]) -> Bin:
    count, share = len(stated), float(came_true.mean())
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    spread = Z * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2)) / (1 + Z**2 / count)
    # At a share of 0 or 1 rounding may leave the end a hair outside the share.
    low, high = min(share, float(middle - spread)), max(share, float(middle + spread))
    return Bin(float(stated.mean()), share, low, high, count)
