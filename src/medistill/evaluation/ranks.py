"""Average ranks over data sets, and how far apart they must be to mean anything.

Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006.
"""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from medistill.evaluation.distributions import chi_squared_tail, range_quantile

LEVEL = 0.05
ROUNDING = 1e-9  # means of the same values, added in another order, differ by some 1e-16


def ranks(scores: Float[np.ndarray, "blocks rivals"]) -> Float[np.ndarray, "blocks rivals"]:
    """Rank of each rival in each block: 1 for the highest score, ties share their mean."""
    ahead = scores[:, None, :] - scores[:, :, None]
    above, alike = ahead > ROUNDING, np.abs(ahead) <= ROUNDING
    return np.asarray(above.sum(axis=2) + (alike.sum(axis=2) + 1) / 2, float)


def friedman(scores: Float[np.ndarray, "blocks rivals"]) -> float:
    """Probability that average ranks lie as far apart were no rival better: Friedman's test."""
    blocks, rivals = scores.shape
    found = ranks(scores)
    between = blocks * ((found.mean(axis=0) - (rivals + 1) / 2) ** 2).sum()
    # Within a block ranks vary by k (k + 1) / 12, and by less where some are tied.
    within = ((found - (rivals + 1) / 2) ** 2).sum() / (blocks * (rivals - 1))
    return chi_squared_tail(float(between / within), rivals - 1) if within else 1.0


def critical_difference(rivals: int, blocks: int) -> float:
    """Nemenyi: average ranks that lie closer than this are not told apart, at 5 %."""
    error = math.sqrt(rivals * (rivals + 1) / (12 * blocks))
    return range_quantile(LEVEL, rivals) * error


def cliques(averages: Mapping[str, float], difference: float) -> list[list[str]]:
    """The largest groups within which no two average ranks are told apart, best first."""
    ordered = sorted(averages, key=lambda name: averages[name])
    runs = [
        [other for other in ordered[start:] if averages[other] - averages[name] <= difference]
        for start, name in enumerate(ordered)
    ]
    return [
        run
        for place, run in enumerate(runs)
        if len(run) > 1 and not any(set(run) < set(other) for other in runs[:place])
    ]
