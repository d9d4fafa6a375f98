"""The few distributions that tests of few seeds and few data sets need; no scipy."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

_POINTS = 10_001  # of an integral: five digits, see the tests
_HALVINGS = 60  # of an interval that holds a quantile: beyond double precision


def student_t_tails(t: float, freedom: float | int) -> float:
    """Probability that a t of so many degrees of freedom lies as far from zero, on either side."""
    # With t = sqrt(freedom) * tan(angle) the density is a power of the cosine.
    rest = np.linspace(0, math.pi / 2 - math.atan(abs(t) / math.sqrt(freedom)), _POINTS)
    whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    return min(1.0, 2 * float(np.trapezoid(np.sin(rest) ** (freedom - 1), rest)) / whole)


def student_t_quantile(tails: float, freedom: float | int) -> float:
    """The t beyond which, on either side, so much probability lies."""
    angles = np.linspace(0, math.pi / 2, _POINTS)
    density = np.cos(angles) ** (freedom - 1)
    inside = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    angle = float(np.interp(1 - tails, inside / inside[-1], angles))
    return math.sqrt(freedom) * math.tan(angle)


def chi_squared_tail(value: float, freedom: int) -> float:
    """Probability of a chi-squared at least as large."""
    if freedom <= 0:
        return 1.0 if value <= 0 else 0.0
    if freedom == 1:
        return math.erfc(math.sqrt(value / 2))
    # Integration by parts takes two degrees of freedom away.
    power = freedom / 2 - 1
    term = math.pow(value / 2, power) * math.exp(-value / 2 - math.lgamma(power + 1))
    return (chi_squared_tail(value, freedom - 2) if freedom > 2 else 0.0) + term


def range_quantile(tail: float, count: int) -> float:
    """The range that so many standard normals exceed with this probability.

    It is the studentized range of infinitely many degrees of freedom, which Nemenyi's test asks.
    """
    return _root(lambda width: _range_tail(width, count) - tail, 20.0)


def _range_tail(width: float, count: int) -> float:
    # The smallest lies at x, and all others within the width above it.
    x = np.linspace(-9, 9, 2_001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    inside = density * (_normal(x + width) - _normal(x)) ** (count - 1)
    return 1 - count * float(np.trapezoid(inside, x))


def _normal(x: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """Probability below each point."""
    return np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in x.tolist()])


def _root(falling: Callable[[float], float], most: float) -> float:
    """Where a falling function is zero, between 0 and `most`."""
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
