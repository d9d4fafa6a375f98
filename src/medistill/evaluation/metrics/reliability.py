"""Metrics of probabilities: whether they mean what they say.

Each is a weighted mean over samples, for many weightings at once.
"""

import numpy as np
from jaxtyping import Float, Int

from medistill.evaluation.metrics.counts import share

BINS = 15  # of Guo et al., On Calibration of Modern Neural Networks, ICML 2017


def expected_calibration_error(
    probabilities: Float[np.ndarray, "samples classes"],
    targets: Int[np.ndarray, " samples"],
    weights: Float[np.ndarray, "draws samples"],
) -> Float[np.ndarray, " draws"]:
    """Mean gap between confidence and accuracy over 15 bins of equal width.

    Confidence is the probability of the class that was called; a bin holds its upper edge.
    """
    confidence = probabilities.max(axis=1)
    surplus = (probabilities.argmax(axis=1) == targets) - confidence
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = weights @ (np.eye(BINS)[bins] * surplus[:, None])
    return share(np.abs(gaps).sum(axis=1), weights.sum(axis=1))


def negative_log_likelihood(
    probabilities: Float[np.ndarray, "samples classes"],
    targets: Int[np.ndarray, " samples"],
    weights: Float[np.ndarray, "draws samples"],
) -> Float[np.ndarray, " draws"]:
    """Mean surprise at the true class, in nats; one sample adds 87 at most, a float32's end."""
    likelihood = np.take_along_axis(probabilities, targets[:, None], axis=1)[:, 0]
    surprise = -np.log(np.maximum(likelihood, np.finfo(np.float32).tiny))
    return share(weights @ surprise, weights.sum(axis=1))


def brier(
    probabilities: Float[np.ndarray, "samples classes"],
    targets: Int[np.ndarray, " samples"],
    weights: Float[np.ndarray, "draws samples"],
) -> Float[np.ndarray, " draws"]:
    """Mean squared distance from the truth, summed over classes.

    Two classes count as one probability, which is half of the sum: (p - y)^2 in [0, 1].
    """
    classes = probabilities.shape[1]
    distance = ((probabilities - np.eye(classes)[targets]) ** 2).sum(axis=1)
    scale = 0.5 if classes == 2 else 1.0
    return share(weights @ (scale * distance), weights.sum(axis=1))
