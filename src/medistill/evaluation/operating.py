"""Operating point: above which probability a finding is called, so that few are missed."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from medistill.errors import UserError
from medistill.results import PredictionTable

# Nodules and nodes are findings; what else begins with "no" is the want of one.
_NEGATIVE = re.compile(r"no(?!d)|healthy|negative|control|benign|absent|without|false|0$", re.I)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on one class's probability, and what it reached on the samples it was fitted to.

    Args:
        positive: Name of the class that is called at or above the threshold.
        wanted: Sensitivity that was asked for.
        threshold: None where no sample could fit it.
        sensitivity: Reached where it was fitted.
        specificity: Reached where it was fitted; None without a sample of another class.
        note: Why something is missing; empty when nothing is.
    """

    positive: str
    wanted: float
    threshold: float | None
    sensitivity: float | None
    specificity: float | None
    note: str


def positive_class(classes: Sequence[str], named: str | None = None) -> str | None:
    """The class whose finding matters, or None where several classes leave it open.

    Args:
        classes: Names of all classes.
        named: The recipe's choice. Without it, of two classes the one whose name does not say that
            nothing was found (`normal`, `NonCOVID`, `benign`, ...), else the last.

    Raises:
        UserError: No class has this name.
    """
    if named is not None:
        if named not in classes:
            raise UserError(_unknown(named, classes))
        return named
    if len(classes) != 2:
        return None
    findings = [name for name in classes if not _NEGATIVE.match(name)]
    return findings[0] if len(findings) == 1 else classes[1]


def fit_operating_point(
    table: PredictionTable, positive: str, *, sensitivity: float = 0.95
) -> OperatingPoint:
    """The highest threshold that still finds the stated share of the positive samples.

    It lies halfway to the next score below, so that rounding on another machine moves no sample
    across it. Any other classes stand together against the positive one.

    Args:
        table: Predictions on validation.
        positive: Name of the class to find.
        sensitivity: Share of its samples to find, at least; above 0 and up to 1.
    """
    known = table.targets >= 0
    index = table.classes.index(positive)
    scores = table.probabilities[known, index].astype(float)
    actual = table.targets[known] == index
    if not actual.any():
        note = f"no validation sample of {positive!r}: no threshold could be fitted"
        return OperatingPoint(positive, sensitivity, None, None, None, note)
    found = np.sort(scores[actual])[::-1]
    # The product may end a hair above a whole number: 0.07 * 100 is 7.000000000000001.
    lowest = found[math.ceil(sensitivity * len(found) - 1e-9) - 1]
    threshold = (lowest + scores[scores < lowest].max(initial=0.0)) / 2
    called = scores >= threshold
    others = ~actual
    return OperatingPoint(
        positive,
        sensitivity,
        float(threshold),
        float(called[actual].mean()),
        float((~called[others]).mean()) if others.any() else None,
        "" if others.any() else f"every validation sample is {positive!r}: no specificity",
    )


def _unknown(name: str, classes: Sequence[str]) -> str:
    close = get_close_matches(name, classes, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"Unknown positive class {name!r}.{hint} Available: {', '.join(classes)}."
