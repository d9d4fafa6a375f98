"""One metric of several trainings that differ in their seed, on the same test images.

Two things vary: the images and the seeds. The variance of a mean is the sum of both: that of the
bootstrap over patients, with the seeds as they are, and that of the seeds. With three seeds the
second is itself hardly known, so intervals and tests take Student's t with the degrees of freedom
of Welch and Satterthwaite: a bootstrap over three seeds would call every fourth noise a difference.
Of one seed the second is not known at all: only the images are counted, as the page has to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from medistill.evaluation.distributions import student_t_quantile, student_t_tails
from medistill.evaluation.intervals import LEVEL, flawless_interval, units
from medistill.evaluation.judge import (
    Values,
    labelled,
    measure,
    question_of,
    resample,
    shares_of,
)
from medistill.evaluation.significance import Difference, paired
from medistill.results import PredictionTable
from medistill.spreads import Spread

ANY = (-np.inf, np.inf)  # where a difference may lie
UP_TO_ONE = (0.0, 1.0)
NO_LIMIT = ("negative_log_likelihood", "brier", "hd95_mm")  # metrics that may exceed one


@dataclass(frozen=True)
class Repeated:
    """A metric, or a difference of it, by seed.

    Args:
        seeds: Of the trainings.
        values: On the images as they are.
        drawn: In each draw of the images: the same draws for all that are compared.
        images: How many patients, or images of unknown ones, are drawn from.
        limits: Between which the metric lies.
        trials: Of a share of images: how many patients it is a share of; else None.
    """

    seeds: tuple[int, ...]
    values: Float[np.ndarray, " seeds"]
    drawn: Float[np.ndarray, "seeds draws"]
    images: int
    limits: tuple[float, float] = ANY
    trials: int | None = None

    def __sub__(self, other: "Repeated") -> "Repeated":
        """Seed by seed, of those that both have, and draw by draw: what both share cancels."""
        common = tuple(seed for seed in self.seeds if seed in other.seeds)
        one, two = (part.of(common) for part in (self, other))
        return Repeated(common, one.values - two.values, one.drawn - two.drawn, self.images)

    def of(self, seeds: tuple[int, ...]) -> "Repeated":
        """Some of the seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return replace(self, seeds=seeds, values=self.values[rows], drawn=self.drawn[rows])

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(self.values.mean())

    @property
    def sd(self) -> float | None:
        """Over the seeds; None for one."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else None

    def spread(self) -> Spread:
        """Mean, deviation and interval."""
        low, high = self._interval()
        if low is None or high is None:
            return Spread(self.mean, self.sd, None, None, len(self.values))
        if self.trials and self.values[0] in (0, 1) and np.ptp(self.values) == 0:
            # Every draw repeats it: no proof that it is flawless.
            low, high = flawless_interval(float(self.values[0]), self.trials)
        # Student's t knows no bounds.
        low, high = max(low, self.limits[0]), min(high, self.limits[1])
        return Spread(self.mean, self.sd, low, high, len(self.values))

    def tested(self) -> Difference:
        """Whether a difference is more than other images and other seeds might have made it."""
        low, high = self._interval()
        return Difference(self.mean, low, high, self._p(), self.sd)

    @cached_property
    def _variances(self) -> tuple[float, float]:
        """Of the mean, from the images and from the seeds."""
        draws = self.drawn.mean(axis=0)
        draws = draws[~np.isnan(draws)]
        images = float(draws.var(ddof=1)) if len(draws) > 1 else 0.0
        return images, (self.sd or 0.0) ** 2 / len(self.values)

    @property
    def _error(self) -> float:
        return float(np.sqrt(sum(self._variances)))

    @property
    def _freedom(self) -> float:
        parts = zip(self._variances, (self.images - 1, len(self.values) - 1), strict=True)
        return float(self._error**4 / sum(v**2 / freedom for v, freedom in parts if v > 0))

    def _interval(self) -> tuple[float | None, float | None]:
        if not self.drawn.size:
            return None, None
        half = student_t_quantile(1 - LEVEL, self._freedom) * self._error if self._error else 0.0
        return self.mean - half, self.mean + half

    def _p(self) -> float | None:
        if not self.drawn.size:
            return None
        if not self._error:
            # So many draws never prove a p of 0.
            return 1 / (self.drawn.shape[1] + 1) if self.mean else 1.0
        return student_t_tails(self.mean / self._error, self._freedom)


def mean_of(parts: Sequence[Repeated]) -> Repeated:
    """The unweighted mean of a metric over several tasks, seed by seed and draw by draw.

    Each task was drawn from its own images, with a seed of its own: draws of one seed would take
    images of the same places everywhere, and the tasks would seem to rise and fall together.
    """
    common = _common_seeds(parts)
    same = [one.of(common) for one in parts]
    drawn = [one.drawn for one in same]
    undrawn = np.empty((len(common), 0))
    # As many freedoms as the smallest has: Welch and Satterthwaite's are never fewer.
    return Repeated(
        common,
        np.mean([one.values for one in same], axis=0),
        np.mean(drawn, axis=0) if all(d.size for d in drawn) else undrawn,
        min(one.images for one in parts),
        parts[0].limits,
        min(one.trials or 0 for one in parts) or None,
    )


def _common_seeds(parts: Sequence[Repeated]) -> tuple[int, ...]:
    return tuple(seed for seed in parts[0].seeds if all(seed in one.seeds for one in parts))


def limits_of(name: str) -> tuple[float, float]:
    """Between which a metric lies: most are shares, or means of such."""
    return (0.0, np.inf) if name.partition("/")[0] in NO_LIMIT else UP_TO_ONE


def repeated(
    tables: Mapping[int, PredictionTable],
    like: PredictionTable,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Repeated]:
    """Every metric of a network that was trained with several seeds, where it is defined.

    Args:
        tables: By seed, on the same samples.
        like: Orders the samples and knows the patients: the same for all that are compared.
        draws: Of the bootstrap.
        seed: Of the bootstrap: the same for all that are compared.

    Raises:
        UserError: The tables are not about the same samples.
    """
    like = labelled(like)
    images = len(np.unique(units(like.groups)))
    same = [paired(like, table)[1] for table in tables.values()]
    once = [measure(table, question_of(table, None), np.ones((1, len(table)))) for table in same]
    drawn = [_drawn(table, draws, seed) for table in same]
    # Whom a share is of does not depend on the seed.
    shares = shares_of(same[0], question_of(same[0], None))
    counted = {name: len(np.unique(units(same[0].groups)[among])) for name, among in shares.items()}
    found = {}
    for name in once[0]:
        values = np.array([metrics[name][0] for metrics in once])
        if not np.isnan(values).any():
            rows = np.stack([metrics.get(name, np.empty(0)) for metrics in drawn])
            limits, trials = limits_of(name), counted.get(name)
            found[name] = Repeated(tuple(tables), values, rows, images, limits, trials)
    return found


def _drawn(table: PredictionTable, draws: int, seed: int) -> Values:
    return resample(table, question_of(table, None), draws, seed) if draws else {}
