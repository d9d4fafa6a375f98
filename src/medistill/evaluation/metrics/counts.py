"""Metrics of decisions: what was called what, counted class by class.

Every count is a sum of weights, for many weightings at once: weights of 1 give the value, and how
often a bootstrap drew each sample gives its draws. A share of nothing is NaN.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Counts(NamedTuple):
    """Weight of each class's samples, of the calls of it, and of those that were right."""

    actual: Float[np.ndarray, "draws classes"]
    called: Float[np.ndarray, "draws classes"]
    right: Float[np.ndarray, "draws classes"]


def count(
    targets: Int[np.ndarray, " samples"],
    predicted: Int[np.ndarray, " samples"],
    weights: Float[np.ndarray, "draws samples"],
    classes: int,
) -> Counts:
    """Count the samples, calls and hits of each class."""
    # One matrix product counts all draws: a thousand of them take milliseconds.
    actual, called = np.eye(classes)[targets], np.eye(classes)[predicted]
    return Counts(weights @ actual, weights @ called, weights @ (actual * called))


def accuracy(counts: Counts) -> Float[np.ndarray, " draws"]:
    """Share of the samples that were called right."""
    return share(counts.right.sum(axis=1), counts.actual.sum(axis=1))


def sensitivity(counts: Counts) -> Float[np.ndarray, "draws classes"]:
    """Share of a class's samples that were called so; NaN for a class without samples."""
    return share(counts.right, counts.actual)


def specificity(counts: Counts) -> Float[np.ndarray, "draws classes"]:
    """Share of the other classes' samples that were not called so; NaN where there is no other."""
    others = counts.actual.sum(axis=1, keepdims=True) - counts.actual
    return share(others - (counts.called - counts.right), others)


def balanced_accuracy(counts: Counts) -> Float[np.ndarray, " draws"]:
    """Mean sensitivity over the classes that have samples."""
    return mean_of_defined(sensitivity(counts))


def macro_f1(counts: Counts) -> Float[np.ndarray, " draws"]:
    """Mean F1 over the classes that have samples; never having been called counts as 0."""
    f1 = share(2 * counts.right, counts.actual + counts.called)
    return mean_of_defined(np.where(counts.actual > 0, f1, np.nan))


def share(
    part: Float[np.ndarray, "*shape"], whole: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Part of a whole; NaN where the whole is nothing."""
    shares = np.full_like(part, np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def mean_of_defined(values: Float[np.ndarray, "draws classes"]) -> Float[np.ndarray, " draws"]:
    """Mean over the classes whose value is defined; NaN where none is."""
    defined = ~np.isnan(values)
    return share(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(float))
