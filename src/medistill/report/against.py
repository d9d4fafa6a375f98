"""Student, teacher's probe and other runs on a task: side by side, and in words."""

from collections.abc import Mapping, Sequence

from medistill.report import figures
from medistill.report.comparison import (
    Contender,
    Shared,
    contenders,
    distinguishable,
    shared_cases,
    shared_samples,
)
from medistill.report.evidence import Evidence, distinct_names
from medistill.report.headline import KEYS
from medistill.report.markup import Html, element, figure, folded, number, together
from medistill.report.tables import Table, keys, metric_table
from medistill.report.wording import (
    METRICS,
    MINUS,
    difference_interval,
    difference_of,
    inside,
    listed,
    metric,
    probability_of_chance,
    said,
)


def results(evidence: Evidence, others: Sequence[Evidence], task: str) -> list[Html]:
    """Every network's metrics in the split that counts, then what may be concluded."""
    found = contenders(evidence, others, task)
    if not found:
        return []
    table = metric_table(
        found,
        [key for key in keys(found) if key in METRICS],
        f"On the {evidence.split} split; beneath each value its 95 % interval.",
    )
    verdicts = _verdicts(evidence, others, task)
    beside = element("div", *_intervals(found), *verdicts, class_="beside")
    return [
        element("h3", "Results"),
        element("div", table.html("results"), beside, class_="pair"),
        *_elsewhere(evidence, task),
        *_other_splits(evidence, others, task),
    ]


def _intervals(found: Sequence[Contender]) -> list[Html]:
    """The key metrics as a picture, where there is more than one network to compare."""
    shown = {
        key: [(one.series, one.name, one.estimates[key]) for one in found if key in one.estimates]
        for key in KEYS
        if not metric(key).unit  # millimetres and shares have no axis in common
    }
    rows = {key: marks for key, marks in shown.items() if marks}
    if len(found) < 2 or not rows:
        return []
    caption = "The same in a picture: a mark is the value, its line the 95 % interval."
    return [figure(figures.intervals(rows), caption)]


def _verdicts(evidence: Evidence, others: Sequence[Evidence], task: str) -> list[Html]:
    told: list[Html] = []
    for name, other in zip(distinct_names([evidence, *others])[1:], others, strict=True):
        warning = _incomparable(evidence, other, name, task)
        told += warning or _differences(evidence, other, name, task)
    return [element("div", *told)] if told else []


def _incomparable(evidence: Evidence, other: Evidence, name: str, task: str) -> list[Html]:
    """A word of warning where the other run was not judged on the same images."""
    shared = _in_common(evidence, other, task)
    if shared is None:
        return [_note(name, ": it has no predictions for the same task and split.")]
    if shared.same:
        return []
    counts = f"{shared.both} of {shared.own} here and {shared.theirs} there"
    return [
        _note(
            name, f": it was judged on other images ({counts} are shared), so they do not compare."
        )
    ]


def _in_common(evidence: Evidence, other: Evidence, task: str) -> Shared | None:
    """What both were judged on; None where one of them has not told."""
    if evidence.split != other.split:
        return None
    cases = evidence.cases(task), other.cases(task)
    if all(cases):
        return shared_cases(*cases)
    own, theirs = evidence.table(task), other.table(task)
    return shared_samples(own, theirs) if own and theirs else None


def _differences(evidence: Evidence, other: Evidence, name: str, task: str) -> list[Html]:
    found = _tested(evidence, other).get(task, {})
    known = {key: found[key] for key in METRICS if key in found}
    if not known:
        return [_note(name, ": no paired test was made, and overlapping intervals settle nothing.")]
    rows = [
        [
            metric(key).words,
            number(difference_of(key, difference.get("value"))),
            number(difference_interval(key, difference.get("low"), difference.get("high"))),
            number(probability_of_chance(difference.get("p"))),
            _verdict(distinguishable(difference)),
        ]
        for key, difference in known.items()
    ]
    head = ["", f"this run {MINUS} {name}", "95 % interval", "p", "verdict"]
    caption = (
        "Paired on the same images; of twenty such differences chance alone makes one stand out."
    )
    return [_conclusion(name, known), folded("All differences", Table(head, rows, caption).html())]


def _tested(
    evidence: Evidence, other: Evidence
) -> Mapping[str, Mapping[str, Mapping[str, float | None]]]:
    """What was found between two runs, whether by the other's path or by its name."""
    names = (str(other.run.path), other.name)
    return next((evidence.differences[n] for n in names if n in evidence.differences), {})


def _conclusion(name: str, known: Mapping[str, Mapping[str, float | None]]) -> Html:
    """One sentence: which of the key metrics differ by more than noise."""
    told: dict[str, list[str]] = {}
    for key in (key for key in KEYS if key in known):
        verdict = _verdict(distinguishable(known[key]))
        told.setdefault(verdict, []).append(_measured(key, known[key]))
    parts = [f"{listed(found)}, {verdict}" for verdict, found in sorted(told.items())]
    return _note(name, f": {'; '.join(parts) or 'no key metric was tested'}.")


def _measured(key: str, difference: Mapping[str, float | None]) -> str:
    interval = difference_interval(key, difference.get("low"), difference.get("high"))
    return f"{inside(key)} {difference_of(key, difference.get('value'))} ({interval})"


def _verdict(apart: bool | None) -> str:
    if apart is None:
        return "not judged"
    return "distinguishable from noise" if apart else "not distinguishable from noise"


def _elsewhere(evidence: Evidence, task: str) -> list[Html]:
    """What later evaluations of the same network found."""
    known = [key for key in KEYS if key in evidence.estimates(task)]
    rows = [
        [f"{name} ({split})", *(number(said(key, tasks[task].get(key))) for key in known)]
        for name, found in evidence.evaluations.items()
        for split, tasks in found.items()
        if task in tasks
    ]
    head = ["images", *(metric(key).words for key in known)]
    caption = "Judged again: on images from elsewhere, or on another split."
    return [Table(head, rows, caption).html("results")] if rows else []


def _other_splits(evidence: Evidence, others: Sequence[Evidence], task: str) -> list[Html]:
    told = []
    for split in evidence.metrics:
        found = contenders(evidence, others, task, split) if split != evidence.split else []
        if found:
            chosen = [key for key in keys(found) if key in METRICS]
            why = ", where choices were made" if split == "validation" else ""
            told.append(
                folded(
                    f"On the {split} split{why}", metric_table(found, chosen, "").html("results")
                )
            )
    return told


def _note(name: str, text: str) -> Html:
    return element("p", together(["Against ", element("strong", name), text]), class_="verdict")
