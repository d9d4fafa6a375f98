"""What the networks of several tasks have in common and what each knows, as `analyze` found it."""

from collections.abc import Mapping, Sequence
from typing import Any

from medistill.report.evidence import Document, Evidence
from medistill.report.markup import Html, element, number
from medistill.report.tables import Table
from medistill.report.wording import UNDEFINED, amount, listed
from medistill.results import read_json

EXPERTS = "experts.json"


def experts_of(evidence: Evidence) -> Document:
    """What was found; nothing where nobody asked."""
    path = evidence.analysis_folder / EXPERTS
    return dict(read_json(path)) if path.is_file() else {}


def gaps(found: Document) -> list[Html]:
    """The mutual information gap of each run, beside what chance makes of it."""
    told = (
        "The mutual information gap (Chen et al., NeurIPS 2018) is 1 where one feature alone "
        "tells the task of an image, or its class within a task, and no other feature tells any "
        f"of it. {found['images']} images of each task, each seen by its own network. Compare it "
        "between runs, and with what shuffled facts give; by itself it says little."
    )
    rows = [
        [panel["name"], kind, *_numbers(gap)]
        for panel in found["panels"]
        for kind, gap in panel["gap"].items()
    ]
    head = ["", "of", "gap", "by chance", "task", "classes"]
    return [
        element("h3", "One feature, one fact"),
        element("p", told, class_="quiet"),
        Table(head, rows).html("figured"),
    ]


def costs(found: Document) -> list[Html]:
    """What each form of the networks holds and takes."""
    rows = [
        [line["name"], amount(line.get("parameters")), amount(line.get("macs")),
         amount(line.get("bytes"), "B"), amount(line.get("latency_ms_p50"), "ms")]
        for line in found["cost"]
    ]  # fmt: skip
    if not rows:
        return []
    told = (
        "Folded in, an expert costs nothing beside its backbone, and each task has a network of "
        "that size. Not folded in, all tasks share one backbone, and each adds its factors alone: "
        "the fewest numbers to keep, at the price of building an expert's weights."
    )
    head = ["", "parameters", "multiply-accumulates an image", "weights", "latency an image"]
    return [
        element("h3", "Cost"),
        element("p", told, class_="quiet"),
        Table(head, rows).html("figured"),
    ]


def said_of_similarity(found: Document) -> str:
    """How to read the matrices."""
    alike = [panel["name"] for panel in found["panels"] if panel["one_encoder"]]
    have = "has" if len(alike) == 1 else "have"
    same = f" {listed(alike)} {have} one encoder for all tasks: all ones." if alike else ""
    apart = [panel["name"] for panel in found["panels"] if panel["covariance"] is None]
    have = "has" if len(apart) == 1 else "have"
    left_out = (
        f" {listed(apart)} {have} none: features of networks that were trained apart, or with a "
        "part of their own, are no common dimensions."
        if apart
        else ""
    )
    return (
        "Left, linear CKA of the networks of every two tasks on the same images, as many of each "
        "task: 1 where they see them alike, lower where experts have gone ways of their own."
        f"{same} Right, each network on the images of its own task alone: the cosine of the "
        "covariances of their features, 1 where both tasks vary along the same directions. It "
        "needs no pairs of images, so that networks with one encoder compare too, but dimensions "
        f"in common, as one encoder has or experts of one backbone.{left_out}"
    )


def _numbers(gap: Mapping[str, Any]) -> list[Html]:
    by_factor = gap["by_factor"]
    classes = [value for name, value in by_factor.items() if name != "task"]
    mean = sum(classes) / len(classes) if classes else None
    values: Sequence[float | None] = (gap["gap"], gap["chance"], by_factor.get("task"), mean)
    return [number(UNDEFINED if value is None else f"{value:.3f}") for value in values]
