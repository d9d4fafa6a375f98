"""Which samples come when: pure functions of seed and epoch."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medistill.data.counters import uniforms

Sampling = Literal["plain", "balanced"]
TaskSampling = Literal["proportional", "square_root", "balanced"]
Numbers: TypeAlias = NDArray[np.int64]

_ORDER, _GROUPS, _TASKS = 1, 2, 4  # first keys, so that no two uses share their random numbers
# A task's share of an epoch goes with this power of its size.
_POWERS: dict[TaskSampling, float] = {"proportional": 1.0, "square_root": 0.5, "balanced": 0.0}


@dataclass(frozen=True, kw_only=True)
class Order:
    """How an epoch goes through its samples.

    Args:
        seed: Of everything random in it.
        sampling: `balanced` shows every class of a task equally often.
        task_sampling: How often each task comes: by its size, by the root of its size, or all
            alike. An epoch is as long in any case.
        shuffle: Whether every epoch has an order of its own; else samples come as they stand.
        drop_last: Whether an epoch leaves out a last batch that is not full.
    """

    seed: int = 0
    sampling: Sampling = "plain"
    task_sampling: TaskSampling = "proportional"
    shuffle: bool = True
    drop_last: bool = True

    def epoch(
        self, number: int, samples: Numbers, groups: Numbers, tasks: Numbers | None = None
    ) -> Numbers:
        """The samples of one epoch in their order, as many as there are.

        Args:
            number: Of the epoch.
            samples: To go through.
            groups: What must be equally frequent in a balanced epoch: the class of each sample.
            tasks: The task of each sample; all are of one if none is given.
        """
        if self.sampling == "balanced" or self.task_sampling != "proportional":
            tasks = np.zeros_like(samples) if tasks is None else tasks
            samples = self._chosen(number, samples, groups, tasks)
        return _shuffled(samples, _ORDER, self.seed, number) if self.shuffle else samples

    def _chosen(self, epoch: int, samples: Numbers, groups: Numbers, tasks: Numbers) -> Numbers:
        """Of each task as many samples as are its due."""
        names, sizes = np.unique(tasks, return_counts=True)
        counts = _divided(len(samples), sizes.astype(float) ** _POWERS[self.task_sampling])
        parts = []
        for name, count in zip(names.tolist(), counts.tolist(), strict=True):
            own = samples[tasks == name]
            if self.sampling == "balanced":
                parts.append(_balanced(own, groups[tasks == name], count, self.seed, epoch))
            else:
                parts.append(_next(own, epoch * count, count, _TASKS, self.seed, name))
        return np.concatenate(parts)


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


def _balanced(samples: Numbers, groups: Numbers, count: int, seed: int, epoch: int) -> Numbers:
    # Which groups get one more in an uneven division changes with the epoch.
    names = _shuffled(np.unique(groups), _GROUPS, seed, epoch)
    shares = np.array_split(np.arange(count), len(names))
    drawn = [
        _drawn(samples[groups == name], len(share), _GROUPS, seed, epoch, int(name))
        for name, share in zip(names, shares, strict=True)
    ]
    return np.concatenate(drawn)


def _drawn(samples: Numbers, count: int, *keys: int) -> Numbers:
    # None comes a second time before all came once.
    return np.resize(_shuffled(samples, *keys), count)


def _divided(total: int, weights: NDArray[np.float64]) -> Numbers:
    """A number in whole parts by their weights; what is left goes to the largest remainders."""
    wanted = total * weights / weights.sum()
    parts: Numbers = np.floor(wanted + 1e-9).astype(np.int64)
    rest = total - int(parts.sum())
    parts[np.argsort(parts - wanted, kind="stable")[:rest]] += 1
    return parts


def _next(samples: Numbers, first: int, count: int, *keys: int) -> Numbers:
    """Some of an endless sequence that goes through all samples, again and again, each time anew.

    Epochs take one after the other from it, so that none comes again before all came.
    """
    whole = len(samples)
    rounds = range(first // whole, -(-(first + count) // whole))
    drawn: Numbers = np.concatenate([samples[:0], *(_shuffled(samples, *keys, r) for r in rounds)])
    return drawn[first % whole :][:count]


def _shuffled(samples: Numbers, *keys: int) -> Numbers:
    return samples[np.argsort(uniforms(len(samples), *keys)[0], kind="stable")]
