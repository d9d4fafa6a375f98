"""Temperature scaling: one number that makes probabilities honest and moves no decision.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
"""

import math

import numpy as np
from jaxtyping import Float, Int

BOUNDS = (0.05, 20.0)
_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 40  # narrow the bounds to 2e-8 of a temperature's logarithm


def fit_temperature(
    logits: Float[np.ndarray, "samples classes"], targets: Int[np.ndarray, " samples"]
) -> float:
    """Temperature under which labelled validation samples are likeliest.

    It is 1 where validation cannot tell: without labels, and where the likelihood only grows
    towards a bound, as when every sample is right and the coldest temperature wins.
    """
    known = targets >= 0
    logits, targets = logits[known].astype(np.float64), targets[known]
    if not len(targets):
        return 1.0
    low, high = (math.log(bound) for bound in BOUNDS)
    margins = logits - np.take_along_axis(logits, targets[:, None], axis=1)
    # The likelihood is concave in 1 / temperature, so it has one peak on the logarithm too.
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _surprise(margins, left) < _surprise(margins, right):
            high = right
        else:
            low = left
    found = (low + high) / 2
    inside = math.log(BOUNDS[0]) + 0.01 < found < math.log(BOUNDS[1]) - 0.01
    return math.exp(found) if inside else 1.0


def _surprise(margins: Float[np.ndarray, "samples classes"], log_temperature: float) -> float:
    return float(np.logaddexp.reduce(margins / math.exp(log_temperature), axis=1).mean())
