"""95 % intervals: the percentile bootstrap, over patients where they are known.

A draw takes as many patients as there are, with replacement and without strata, and each brings
all of its samples. A draw is a row of weights, so that a metric sees many draws in one call.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

LEVEL = 0.95
_CELLS = 2_000_000  # weights held at once: 16 MB, which stays near the cache


def groups_of(patients: Sequence[str | None]) -> Int[np.ndarray, " samples"]:
    """Number the patients in the order in which they appear; -1 where a patient is not known."""
    known = dict.fromkeys(patient for patient in patients if patient is not None)
    number = {patient: index for index, patient in enumerate(known)}
    return np.array(
        [-1 if patient is None else number[patient] for patient in patients], dtype=np.int64
    )


def units(groups: Int[np.ndarray, " samples"]) -> Int[np.ndarray, " samples"]:
    """Number what is drawn as one: a patient, or a sample whose patient is not known."""
    alone = -1 - np.arange(len(groups))
    _, numbers = np.unique(np.where(groups < 0, alone, groups), return_inverse=True)
    return np.asarray(numbers, np.int64)


def bootstrap(
    groups: Int[np.ndarray, " samples"], draws: int, seed: int
) -> Iterator[Float[np.ndarray, "some_draws samples"]]:
    """How often each draw holds each sample, a block of draws at a time.

    Args:
        groups: Number of each sample's patient; -1 stands alone.
        draws: How many draws the blocks hold together.
        seed: Equal seeds give equal draws.
    """
    generator, unit = np.random.default_rng(seed), units(groups)
    many, block = int(unit.max()) + 1, max(1, _CELLS // len(unit))
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        # Each row counts in bins of its own, so that one call counts the whole block.
        drawn = generator.integers(many, size=(rows, many)) + many * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * many).reshape(rows, many)
        yield times[:, unit].astype(float)


def joined(blocks: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What was measured on each block of draws, one block after the other."""
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def interval(values: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """Middle 95 % of the draws in which a metric is defined; NaN where it is in none."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def flawless_interval(value: float, trials: int) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share that is 0 or 1.

    There every bootstrap draw repeats the value, and an interval of no width would claim that
    twenty right answers out of twenty prove a flawless network.
    """
    bound = ((1 - LEVEL) / 2) ** (1 / trials)
    return (bound, 1.0) if value == 1 else (0.0, 1 - bound)
