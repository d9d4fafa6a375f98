"""Tasks taken together: those of a region, and all of them; each counts alike."""

from collections.abc import Mapping, Sequence
from math import dist
from typing import Final

from medistill.report.evidence import Evidence
from medistill.report.wording import inside, said
from medistill.results import Estimate

PRINTED: Final = ("accuracy", "balanced_accuracy", "auroc", "dice", "surface_dice", "hd95_mm")


def groups(evidence: Evidence) -> dict[str, list[str]]:
    """Judged tasks by the words for their mean: of every region with several, then of all.

    None where a single task was judged.
    """
    judged = [task for task in evidence.tasks if evidence.estimates(task)]
    roots = evidence.roots
    return together({task: (roots.get(task) or {}).get("region") or task for task in judged})


def together(regions: Mapping[str, str]) -> dict[str, list[str]]:
    """Tasks by the words for their mean: of every region with several but not all, then of all.

    Args:
        regions: Of each task.
    """
    by_region: dict[str, list[str]] = {}
    for task, region in regions.items():
        by_region.setdefault(region, []).append(task)
    found = {
        f"mean of {region}": tasks
        for region, tasks in by_region.items()
        if 1 < len(tasks) < len(regions)
    }
    every = {f"mean of {len(regions)} tasks": list(regions)} if len(regions) > 1 else {}
    return {**found, **every}


def averaged(found: Sequence[Mapping[str, Estimate]], keys: Sequence[str]) -> dict[str, Estimate]:
    """The metrics that all tasks have, averaged over them.

    Args:
        found: Metrics of each task.
        keys: Which of them; those of a single class mean nothing together.
    """
    return {
        key: mean_estimate([estimates[key] for estimates in found])
        for key in keys
        if all(key in estimates for estimates in found)
    }


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """The unweighted mean, and its interval for tasks on images of their own.

    Deviations of independent means add up as squares; each side of the intervals by itself.
    """
    known = [each["value"] for each in estimates if each["value"] is not None]
    if len(known) < len(estimates) or not known:
        return {"value": None, "low": None, "high": None}
    mean = sum(known) / len(known)
    lows = [each["low"] for each in estimates if each["low"] is not None]
    highs = [each["high"] for each in estimates if each["high"] is not None]
    if len(lows) < len(known) or len(highs) < len(known):
        return {"value": mean, "low": None, "high": None}
    below, above = (dist(known, ends) / len(known) for ends in (lows, highs))
    return {"value": mean, "low": mean - below, "high": mean + above}


def lines(evidence: Evidence) -> list[str]:
    """What to print of several tasks: a line for each, then their means; of one task nothing."""
    together = groups(evidence)
    named = {task: evidence.estimates(task) for task in evidence.tasks}
    for words, tasks in together.items():
        named[words] = averaged([named[task] for task in tasks], PRINTED)
    return [
        f"{name}: " + ", ".join(f"{inside(k)} {said(k, found[k])}" for k in PRINTED if k in found)
        for name, found in named.items()
        if together and found
    ]
