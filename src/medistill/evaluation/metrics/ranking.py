"""Metrics of order: whether the samples of a class score above the others, at any threshold.

Samples of one score stand or fall together, as at any threshold they would.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from medistill.evaluation.metrics.counts import share


class Curve(NamedTuple):
    """Weight of the hits and false alarms at each distinct score, the highest threshold first."""

    hits: Float[np.ndarray, "draws thresholds"]
    alarms: Float[np.ndarray, "draws thresholds"]


def curve(
    scores: Float[np.ndarray, " samples"],
    positive: Bool[np.ndarray, " samples"],
    weights: Float[np.ndarray, "draws samples"],
) -> Curve:
    """Lower the threshold from one score to the next, and add up what passes it."""
    # Draws share the order of the scores, so it is found once.
    order = np.argsort(-scores, kind="stable")
    last_of_score = np.flatnonzero(np.diff(scores[order], append=np.nan))
    passed = weights[:, order]
    hits = np.cumsum(passed * positive[order], axis=1)
    alarms = np.cumsum(passed * ~positive[order], axis=1)
    return Curve(hits[:, last_of_score], alarms[:, last_of_score])


def auroc(curve: Curve) -> Float[np.ndarray, " draws"]:
    """Probability that a positive sample scores above a negative one; equal scores count half.

    It is NaN where one of the two is missing.
    """
    hits, alarms = _from_nothing(curve.hits), _from_nothing(curve.alarms)
    area = (np.diff(alarms) * (hits[:, 1:] + hits[:, :-1])).sum(axis=1) / 2
    return share(area, hits[:, -1] * alarms[:, -1])


def average_precision(curve: Curve) -> Float[np.ndarray, " draws"]:
    """Mean precision over the thresholds, each weighted by the sensitivity it adds.

    No interpolation. It is NaN where no sample is positive.
    """
    gained = np.diff(_from_nothing(curve.hits))
    passed = curve.hits + curve.alarms
    # A threshold that nothing drawn has passed yet gains nothing, whatever stands for its 0 / 0.
    precision = curve.hits / np.where(passed > 0, passed, 1.0)
    return share((gained * precision).sum(axis=1), _from_nothing(curve.hits)[:, -1])


def _from_nothing(
    passed: Float[np.ndarray, "draws thresholds"],
) -> Float[np.ndarray, "draws points"]:
    return np.pad(passed, ((0, 0), (1, 0)))
