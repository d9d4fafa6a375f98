"""Random numbers as a pure function of what they belong to: no state, no order of drawing."""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def uniforms(count: int, *keys: int | NDArray[np.int64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) that only the keys decide: (n, count) for keys of length n.

    Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014: the
    finalizer of SplitMix64 takes in one key after the other, then a counter.

    Args:
        count: How many numbers for each row.
        keys: What a row belongs to (seed, sample, view): whole numbers, or arrays of them.
    """
    state = np.zeros(1, dtype=np.uint64)
    for key in keys:
        state = _mixed(state ^ np.atleast_1d(key).astype(np.uint64))
    rows = _mixed(state[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    # The 53 bits that a double holds exactly.
    return (rows >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
