"""Which volume comes when: a pure function of seed and epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medistill.data.counters import uniforms
from medistill.data.order import Numbers, TaskSampling

Mixing = Literal["mixed", "region"]

_ROUND, _WITHIN, _STEPS = 21, 22, 23  # first keys of their own: see `order.py`
# A data set's share of an epoch goes with this power of its size: each case of it then weighs
# 1 / sqrt(size) by default, as in the SAT papers.
_POWERS: dict[TaskSampling, float] = {"proportional": 1.0, "square_root": 0.5, "balanced": 0.0}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How an epoch goes through the volumes of some data sets.

    None of a data set comes a second time before all came once. `round`, how often each was drawn
    before, counts on through the epochs.

    Args:
        steps: Batches in an epoch.
        batch_size: Volumes in a batch.
        seed: Of everything random in it.
        mixing: Whether a batch mixes all regions of the body or shows a single one.
        sampling: How often each data set comes, by its size.
    """

    steps: int
    batch_size: int
    seed: int = 0
    mixing: Mixing = "mixed"
    sampling: TaskSampling = "square_root"

    def epoch(
        self, number: int, samples: Sequence[Numbers], regions: Sequence[str]
    ) -> tuple[Numbers, Numbers]:
        """Samples and their rounds, each (steps, batch_size).

        Args:
            number: Of the epoch.
            samples: Of each data set.
            regions: Of each data set.
        """
        lanes = self._lanes(samples, regions)
        weights = [sum(self._weight(samples[i]) for i in lane) for lane in lanes]
        before, steps = due(number, self.steps, np.array(weights))
        alike = self.steps >= len(lanes)
        drawn = [
            self._lane(number, [samples[i] for i in lane], lane, (first, count), alike=alike)
            for lane, first, count in zip(lanes, before.tolist(), steps.tolist(), strict=True)
        ]
        together = np.concatenate(drawn, axis=1)
        order = np.argsort(uniforms(self.steps, _STEPS, self.seed, number)[0], kind="stable")
        return together[0][order], together[1][order]

    def _lanes(self, samples: Sequence[Numbers], regions: Sequence[str]) -> list[list[int]]:
        """Places of the data sets that a batch may mix."""
        usable = [place for place, own in enumerate(samples) if len(own)]
        if self.mixing == "mixed":
            return [usable]
        # A dictionary keeps the order of the recipe, which a set would not.
        lanes: dict[str, list[int]] = {}
        for place in usable:
            lanes.setdefault(regions[place], []).append(place)
        return list(lanes.values())

    def _lane(
        self,
        epoch: int,
        samples: list[Numbers],
        places: list[int],
        steps: tuple[int, int],
        *,
        alike: bool,
    ) -> NDArray[np.int64]:
        """Samples and rounds of some data sets.

        Args:
            epoch: Its number.
            samples: Of each data set.
            places: Of the data sets in the recipe.
            steps: Of all epochs before it, and its own.
            alike: Whether each epoch has as many.
        """
        earlier, total = (count * self.batch_size for count in steps)
        weights = np.array([self._weight(own) for own in samples])
        firsts, counts = due(epoch, total, weights) if alike else dealt(earlier, total, weights)
        drawn = [
            # A pure function of the epoch: none needs to know what those before it drew.
            _continued(own, first, count, _ROUND, self.seed, place)
            for own, place, first, count in zip(
                samples, places, firsts.tolist(), counts.tolist(), strict=True
            )
        ]
        together = np.concatenate(drawn, axis=1)
        keys = (_WITHIN, self.seed, epoch, places[0])
        order = np.argsort(uniforms(total, *keys)[0], kind="stable")
        return together[:, order].reshape(2, steps[1], self.batch_size)

    def _weight(self, samples: Numbers) -> float:
        weight: float = len(samples) ** _POWERS[self.sampling]
        return weight


def due(epoch: int, total: int, weights: NDArray[np.float64]) -> tuple[Numbers, Numbers]:
    """What each part had in all epochs before one, and has in it, of as much in every epoch.

    Where there is enough for all, every epoch is shared out alike. Else a part that is left out of
    one comes in a later one.
    """
    if total < len(weights):
        return dealt(epoch * total, total, weights)
    parts = shared(total, weights)
    return epoch * parts, parts


def dealt(before: int, count: int, weights: NDArray[np.float64]) -> tuple[Numbers, Numbers]:
    """How much each has of the first ones of an endless sequence, and of those that follow."""
    first = _apportioned(before, weights)
    return first, _apportioned(before + count, weights) - first


def _apportioned(total: int, weights: NDArray[np.float64]) -> Numbers:
    """Whole parts of which none shrinks as the total grows: those of Sainte-Laguë.

    Largest remainders could take from one part what a smaller total gave it.
    """
    # Surely too few at first, so that the loop is short: one goes to the largest w / (part + 1/2).
    wanted = max(0, total - len(weights)) * weights / weights.sum()
    parts: Numbers = np.floor(wanted + 0.5).astype(np.int64)
    for _ in range(total - int(parts.sum())):
        parts[np.argmax(weights / (parts + 0.5))] += 1
    return parts


def shared(total: int, weights: NDArray[np.float64]) -> Numbers:
    """A number in whole parts by their weights, none of them 0 where it can be helped."""
    # A small region that one epoch left out would be left out of every one.
    least = int(total >= len(weights))
    # Largest remainders: rounding each part by itself would miss the total.
    wanted = (total - least * len(weights)) * weights / weights.sum()
    # 1e-9 undoes rounding just below a whole number, as in 0.29 * 100.
    parts: Numbers = np.floor(wanted + 1e-9).astype(np.int64) + least
    rest = total - int(parts.sum())
    parts[np.argsort(parts - least - wanted, kind="stable")[:rest]] += 1
    return parts


def _continued(samples: Numbers, first: int, count: int, *keys: int) -> NDArray[np.int64]:
    """Some of an endless sequence of shuffled rounds, with the number of each one's round."""
    at = np.arange(first, first + count)
    rounds, within = np.divmod(at, len(samples))
    drawn = np.empty(count, np.int64)
    for number in np.unique(rounds).tolist():
        here = rounds == number
        order = np.argsort(uniforms(len(samples), *keys, number)[0], kind="stable")
        drawn[here] = samples[order][within[here]]
    return np.stack([drawn, rounds])
