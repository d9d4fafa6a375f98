"""Which samples come when: pure functions of seed and epoch."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medistill.data.counters import uniforms

Sampling = Literal["plain", "balanced"]
Numbers: TypeAlias = NDArray[np.int64]

_ORDER, _GROUPS = 1, 2  # first keys, so that no two uses share their random numbers


@dataclass(frozen=True, kw_only=True)
class Order:
    """How an epoch goes through its samples.

    Args:
        seed: Of everything random in it.
        sampling: `balanced` shows every class of every task equally often.
        shuffle: Whether every epoch has an order of its own; else samples come as they stand.
        drop_last: Whether an epoch leaves out a last batch that is not full.
    """

    seed: int = 0
    sampling: Sampling = "plain"
    shuffle: bool = True
    drop_last: bool = True

    def epoch(self, number: int, samples: Numbers, groups: Numbers) -> Numbers:
        """The samples of one epoch in their order, as many as there are.

        Args:
            number: Of the epoch.
            samples: To go through.
            groups: What must be equally frequent in a balanced epoch: the class of each sample.
        """
        if self.sampling == "balanced":
            samples = _balanced(samples, groups, self.seed, number)
        return _shuffled(samples, _ORDER, self.seed, number) if self.shuffle else samples


SHUFFLED = Order()
"""For training: another order every epoch."""

IN_ORDER = Order(shuffle=False, drop_last=False)
"""For judging: every sample once, as the split lists them."""


def occurrences(samples: Numbers) -> Numbers:
    """How often each sample was named before in the list."""
    by_sample = np.argsort(samples, kind="stable")
    in_order = samples[by_sample]
    counts = np.empty_like(samples)
    counts[by_sample] = np.arange(len(samples)) - np.searchsorted(in_order, in_order)
    return counts


def _balanced(samples: Numbers, groups: Numbers, seed: int, epoch: int) -> Numbers:
    # Which groups get one more in an uneven division changes with the epoch.
    names = _shuffled(np.unique(groups), _GROUPS, seed, epoch)
    shares = np.array_split(samples, len(names))
    drawn = [
        _drawn(samples[groups == name], len(share), _GROUPS, seed, epoch, int(name))
        for name, share in zip(names, shares, strict=True)
    ]
    return np.concatenate(drawn)


def _drawn(samples: Numbers, count: int, *keys: int) -> Numbers:
    # None comes a second time before all came once.
    return np.resize(_shuffled(samples, *keys), count)


def _shuffled(samples: Numbers, *keys: int) -> Numbers:
    return samples[np.argsort(uniforms(len(samples), *keys)[0], kind="stable")]
