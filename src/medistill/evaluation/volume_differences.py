"""Whether two segmentation networks differ, judged on the same volumes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from medistill.case_results import CaseResult
from medistill.errors import UserError
from medistill.evaluation.intervals import units
from medistill.evaluation.repeats import Repeated, limits_of
from medistill.evaluation.significance import Difference, difference
from medistill.evaluation.volumes import classes_of, measure, named, once, resample


def paired_case_differences(
    first: Sequence[CaseResult],
    second: Sequence[CaseResult],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Differences in every metric, first minus second, with both judged on each draw of patients.

    Args:
        first: Of one network, on one task and split.
        second: Of the other, on the same volumes in any order.
        draws: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        UserError: The two were not judged on the same volumes and classes.
    """
    pair, classes = (first, like(second, first)), classes_of(first)
    values = [named(measure(one, classes, once(one)), classes) for one in pair]
    drawn = [named(resample(one, classes, draws, seed), classes) for one in pair]
    return {
        key: difference(
            float((value - values[1][key])[0]),
            drawn[0][key] - drawn[1][key] if drawn[0] else np.empty(0),
        )
        for key, value in values[0].items()
    }


def repeated_cases(
    by_seed: Mapping[int, Sequence[CaseResult]],
    reference: Sequence[CaseResult],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Repeated]:
    """Every metric of a network that was trained with several seeds, where it is defined.

    Args:
        by_seed: Judged on the same volumes.
        reference: Orders the volumes and knows the patients: the same for all that are compared.
        draws: Of the bootstrap.
        seed: Of the bootstrap.
    """
    same, classes = [like(cases, reference) for cases in by_seed.values()], classes_of(reference)
    values = [named(measure(cases, classes, once(cases)), classes) for cases in same]
    drawn = [named(resample(cases, classes, draws, seed), classes) for cases in same]
    patients = len(np.unique(units(np.array([case.group for case in reference], np.int64))))
    found = {}
    for key in values[0]:
        numbers = np.array([one[key][0] for one in values])
        if not np.isnan(numbers).any():
            rows = np.stack([one.get(key, np.empty(0)) for one in drawn])
            found[key] = Repeated(tuple(by_seed), numbers, rows, patients, limits_of(key))
    return found


def like(cases: Sequence[CaseResult], reference: Sequence[CaseResult]) -> list[CaseResult]:
    """Cases in the order of others on the same volumes, with the patients that those know.

    Raises:
        UserError: Volumes or classes differ.
    """
    place = dict(zip(_keys(cases), cases, strict=True))
    keys = _keys(reference)
    shared = sum(key in place for key in keys)
    if not shared == len(cases) == len(reference):
        name = reference[0].task if reference else "volumes"
        raise UserError(
            f"Cannot compare {name}: the runs share {shared} of {len(reference)} and {len(cases)} "
            "volumes with the same classes; train both on the same splits."
        )
    return [
        replace(one, scores=place[key].scores) for key, one in zip(keys, reference, strict=True)
    ]


def _keys(cases: Sequence[CaseResult]) -> list[tuple[str, frozenset[str], int]]:
    """A name for each volume: identical ones are told apart by their order."""
    seen: dict[tuple[str, frozenset[str]], int] = {}
    keys = []
    for case in cases:
        pair = (case.sample, frozenset(case.scores))
        seen[pair] = seen.get(pair, -1) + 1
        keys.append((*pair, seen[pair]))
    return keys
