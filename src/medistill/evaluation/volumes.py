"""Judging segmentations: a score for each case and class, and their means with intervals.

A mean is over the cases of a class first, then over the classes, so that a rare organ counts as
much as one that every scan shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from medistill.case_results import CaseResult, Labels, Score, mask_of
from medistill.errors import UserError
from medistill.evaluation.intervals import bootstrap, interval, joined, units
from medistill.evaluation.metrics.counts import mean_of_defined, share
from medistill.evaluation.metrics.overlap import dice
from medistill.evaluation.metrics.surface import Spacing, hd95_mm, surface_dice
from medistill.results import Estimate

METRICS: Final = ("dice", "surface_dice", "hd95_mm")
ALL = "all"
_OF = "\n"  # between the name of a data set and what it labels: no name holds one

Means = dict[str, Float[np.ndarray, "draws classes"]]


def measure_case(
    prediction: Labels,
    truth: Labels,
    classes: Sequence[str],
    spacing_mm: Spacing,
    *,
    tolerance_mm: float = 1.0,
    surfaces: bool = True,
) -> dict[str, Score]:
    """Score of each class in one volume.

    Args:
        prediction: A label map, 0 for the background and then the classes in order; or a mask for
            each class, which may overlap.
        truth: Likewise; either may be either.
        classes: Names of the classes.
        spacing_mm: Of the voxels, along each axis.
        tolerance_mm: How far a surface may be off and still count as right.
        surfaces: Whether to measure them: without, they are NaN and None, and the rest is quick.

    Raises:
        UserError: The two are not of one shape.
    """
    if prediction.shape[-3:] != truth.shape[-3:]:
        raise UserError(
            f"A prediction of {_size(prediction)} voxels cannot be judged by a truth of "
            f"{_size(truth)}; bring both onto one grid."
        )
    found = {}
    for place, name in enumerate(classes):
        said, true = mask_of(prediction, place), mask_of(truth, place)
        found[name] = Score(
            dice=dice(said, true),
            surface_dice=surface_dice(said, true, spacing_mm, tolerance_mm) if surfaces else np.nan,
            hd95_mm=hd95_mm(said, true, spacing_mm) if surfaces else None,
            truth_ml=_millilitres(true, spacing_mm),
            predicted_ml=_millilitres(said, spacing_mm),
        )
    return found


def judge_volumes(
    cases: Sequence[CaseResult], classes: Sequence[str], *, draws: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Metrics of one task and split, with 95 % intervals of a bootstrap over patients.

    For each metric the mean over classes of their means over cases, and then, as `dice/liver`,
    that of each class. A mean is over the values that are defined, in each draw anew.

    Args:
        cases: Of one task and split.
        classes: Names of the classes.
        draws: Of the bootstrap; 0 for values alone.
        seed: Of the bootstrap.
    """
    values = named(measure(cases, classes, once(cases)), classes)
    drawn = named(resample(cases, classes, draws, seed), classes)
    return {key: estimate(value, drawn.get(key)) for key, value in values.items()}


def judge_regions(
    cases: Sequence[CaseResult], regions: Mapping[str, str], *, draws: int = 1000, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """Metrics of each region, and of `all`: the mean over the regions.

    Cases, then the data sets that share a label, then the labels of a region, then the regions: at
    each step every one counts alike. A task is a data set, or the several that a list joins. The
    liver in CT and the liver in MR are two labels. Patients of different tasks are drawn apart.

    Args:
        cases: Of one split, of all tasks.
        regions: Region of each task.
        draws: Of the bootstrap; 0 for values alone.
        seed: Of the bootstrap.
    """
    own = {task: [_labelled(case) for case in cases if case.task == task] for task in regions}
    labels = {task: classes_of(found) for task, found in own.items()}
    values = {task: measure(own[task], labels[task], once(own[task])) for task in own}
    drawn = {
        task: resample(own[task], labels[task], draws, seed + place)
        for place, task in enumerate(own)
    }
    means = _by_region(values, labels, regions)
    # Where a task has but one patient, nothing tells how far another would move the mean.
    spread = _by_region(drawn, labels, regions) if all(drawn.values()) else {}
    return {
        region: {key: estimate(v, spread.get(region, {}).get(key)) for key, v in found.items()}
        for region, found in means.items()
    }


def measure(
    cases: Sequence[CaseResult],
    classes: Sequence[str],
    weights: Float[np.ndarray, "draws cases"],
) -> Means:
    """Mean of each class under each weighting of the cases, for every metric."""
    tables = {name: _table(cases, classes, name) for name in METRICS}
    return {
        name: share(weights @ np.nan_to_num(table), weights @ ~np.isnan(table))
        for name, table in tables.items()
    }


def resample(cases: Sequence[CaseResult], classes: Sequence[str], draws: int, seed: int) -> Means:
    """The same in each draw of the bootstrap; empty when there is but one patient to draw."""
    groups = np.array([case.group for case in cases], np.int64)
    if not draws or len(np.unique(units(groups))) < 2:
        return {}
    return joined([measure(cases, classes, weights) for weights in bootstrap(groups, draws, seed)])


def named(means: Means, classes: Sequence[str]) -> dict[str, Float[np.ndarray, " draws"]]:
    """Means over the classes, then those of each class under `metric/class`."""
    whole = {metric: mean_of_defined(found) for metric, found in means.items()}
    parts = {
        f"{metric}/{name}": found[:, place]
        for metric, found in means.items()
        for place, name in enumerate(classes)
    }
    return {**whole, **parts}


def once(cases: Sequence[CaseResult]) -> Float[np.ndarray, "1 cases"]:
    """The weighting that counts every case as it is."""
    return np.ones((1, len(cases)))


def estimate(
    value: Float[np.ndarray, " once"], drawn: Float[np.ndarray, " draws"] | None
) -> Estimate:
    """A value with the interval of its draws."""
    low, high = (np.nan, np.nan) if drawn is None else interval(drawn)
    return Estimate(value=_known(value[0]), low=_known(low), high=_known(high))


def classes_of(cases: Sequence[CaseResult]) -> list[str]:
    """Every class that some case was annotated for."""
    return list(dict.fromkeys(name for case in cases for name in case.scores))


def _labelled(case: CaseResult) -> CaseResult:
    """The case with its data set and its modality in the names of its classes."""
    told = f"{case.dataset}{_OF}{case.modality}"
    scores = {f"{told}/{name}": score for name, score in case.scores.items()}
    return replace(case, scores=scores)


def _table(
    cases: Sequence[CaseResult], classes: Sequence[str], metric: str
) -> Float[np.ndarray, "cases classes"]:
    """A metric of each case and class; NaN where it is undefined or nobody annotated the class."""
    found = [
        getattr(case.scores[name], metric) if name in case.scores else None
        for case, name in product(cases, classes)
    ]
    # As a float, None is NaN.
    return np.array(found, float).reshape(len(cases), len(classes))


def _by_region(
    found: Mapping[str, Means], classes: Mapping[str, Sequence[str]], regions: Mapping[str, str]
) -> dict[str, dict[str, Float[np.ndarray, " draws"]]]:
    """Data sets of a label, labels of a region, regions: mean after mean, for every metric."""
    parts: dict[str, dict[str, dict[str, list[np.ndarray]]]] = {}
    for task, means in found.items():
        for metric, name in product(METRICS, classes[task]):
            value = means[metric][:, classes[task].index(name)]
            by_label = parts.setdefault(regions[task], {}).setdefault(metric, {})
            by_label.setdefault(name.partition(_OF)[2], []).append(value)
    regional = {
        region: {
            metric: _mean([_mean(v) for v in labels.values()]) for metric, labels in by.items()
        }
        for region, by in parts.items()
    }
    every = {metric: _mean([one[metric] for one in regional.values()]) for metric in METRICS}
    return {**regional, ALL: every}


def _mean(values: Sequence[Float[np.ndarray, " draws"]]) -> Float[np.ndarray, " draws"]:
    return mean_of_defined(np.stack(values, axis=1))


def _millilitres(mask: Bool[np.ndarray, "x y z"], spacing_mm: Spacing) -> float:
    return float(np.count_nonzero(mask) * np.prod(spacing_mm) / 1000)


def _size(labels: Labels) -> str:
    return " x ".join(map(str, labels.shape[-3:]))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
