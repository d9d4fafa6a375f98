"""How a deployed student answers one task: by class, by threshold, and where it errs."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from medistill.report import figures
from medistill.report.canvas import MUTED, SERIES
from medistill.report.comparison import FIRST_OTHER, contenders, shared_samples
from medistill.report.curves import Roc, confusion, operating_point, reliability, roc
from medistill.report.evidence import Evidence, distinct_names
from medistill.report.markup import Html, element, figure, number, together
from medistill.report.tables import class_table
from medistill.report.wording import counted, said
from medistill.results import PredictionTable

CURVES = 6  # that an eye can follow
MISTAKES = 12


def by_class(evidence: Evidence, others: Sequence[Evidence], task: str) -> list[Html]:
    """Confusion matrix, and sensitivity and specificity of each class."""
    table, classes = evidence.table(task), evidence.classes(task)
    found = contenders(evidence, others, task)
    # Of two classes the one's specificity is the other's sensitivity.
    told = classes if len(classes) != 2 else [_positive(evidence, task, classes)]
    rates = [class_table(found, told).html("results")] if found and told else []
    if table is None:
        return [element("h3", "By class"), *rates] if rates else []
    both = element("div", _matrix(table), *rates, class_="pair")
    return [element("h3", "By class"), *_one_call(table), both]


def by_threshold(evidence: Evidence, others: Sequence[Evidence], task: str) -> list[Html]:
    """ROC, reliability and the spread of the probabilities."""
    table = evidence.table(task)
    if table is None:
        return []
    point = _point(evidence, task)
    index = table.classes.index(_positive(evidence, task, table.classes))
    pictures = [
        *_roc(evidence, others, table, index),
        *(_two_classes(table, index, point) if len(table.classes) == 2 else _many_classes(table)),
    ]
    return [
        element("h3", "Probabilities"),
        *_operating(evidence, task),
        element("div", *pictures, class_="figures"),
    ]


def mistakes(evidence: Evidence, task: str) -> list[Html]:
    """The most confident wrong answers, as images."""
    found = [mistake for mistake in evidence.mistakes if mistake["task"] == task][:MISTAKES]
    if not found:
        return []
    told = "The wrong answers that the student was surest of."
    return [
        element("h3", "Worst mistakes"),
        element("p", told, class_="quiet"),
        element("div", *(_mistake(evidence, mistake) for mistake in found), class_="mistakes"),
    ]


def _one_call(table: PredictionTable) -> list[Html]:
    """What no metric says as plainly: a student that gives one answer to everything."""
    called = set(table.predicted.tolist())
    if len(called) > 1 or len(set(table.targets.tolist())) == 1:
        return []
    told = f"Every image was called {table.classes[called.pop()]}: the student tells nothing apart."
    return [element("p", told, class_="verdict")]


def _matrix(table: PredictionTable) -> Html:
    counts = confusion(table)
    head = element(
        "tr",
        element("th", "truth ↓ called →", scope="col"),
        *(element("th", name, scope="col") for name in table.classes),
        element("th", "all", scope="col"),
    )
    rows = [
        element(
            "tr",
            element("th", name, scope="row"),
            *(_count(row, place, place == own) for place in range(len(row))),
            element("td", f"{row.sum():,}", class_="all"),
        )
        for own, (name, row) in enumerate(zip(table.classes, counts, strict=True))
    ]
    caption = f"{counted(len(table), 'image')}: counts, and their share of the row."
    matrix = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", head),
        element("tbody", *rows),
        class_="confusion",
    )
    return element("div", matrix, class_="scroll", tabindex=0)


def _count(row: np.ndarray, place: int, right: bool) -> Html:
    total = int(row.sum())
    share = float(row[place] / total) if total else 0.0
    # At most 60 % of the colour: the count must stay readable on it, day and night.
    percent = [element("small", f"{share:.0%}".replace("%", " %"))] if total else []
    class_ = "right" if right else "wrong"
    return element(
        "td", f"{row[place]:,} ", *percent, class_=class_, style=f"--share:{60 * share:.0f}%"
    )


def _point(evidence: Evidence, task: str) -> dict[str, Any] | None:
    point, table = evidence.configs.get(task, {}).get("threshold") or {}, evidence.table(task)
    known = table is not None and point.get("class") in table.classes
    return point if known and point.get("value") is not None else None


def _positive(evidence: Evidence, task: str, classes: Sequence[str]) -> str:
    """The class whose finding matters: that of the threshold, else the last."""
    point = _point(evidence, task)
    return str(point["class"]) if point else classes[-1]


def _operating(evidence: Evidence, task: str) -> list[Html]:
    """What the threshold promised on validation, and what it kept."""
    point, estimates = _point(evidence, task), evidence.estimates(task)
    temperature = evidence.configs.get(task, {}).get("temperature")
    told: list[Html] = []
    if point:
        reached = {
            name: number(said(f"{name}_at_threshold", estimates.get(f"{name}_at_threshold")))
            for name in ("sensitivity", "specificity")
        }
        told += [together([
            "A threshold of ", number(f"{point['value']:.2f}"), " on the probability of ",
            element("strong", point["class"]), " was chosen on validation to find ",
            number(f"{100 * point['sensitivity']:.0f} %"), f" of its images. On {evidence.split} ",
            "it finds ", reached["sensitivity"], ", and rightly rejects ", reached["specificity"],
            " of the rest.",
        ])]  # fmt: skip
    if temperature is not None:
        scaled = number(f"{temperature:.2f}")
        told += [
            together(["Probabilities are calibrated on validation (temperature ", scaled, ")."])
        ]
    return [element("p", together(told, " "))] if told else []


def _roc(
    evidence: Evidence, others: Sequence[Evidence], table: PredictionTable, index: int
) -> list[Html]:
    point = _point(evidence, table.task)
    at = operating_point(table, index, point["value"]) if point else None
    if len(table.classes) == 2:
        curves = _curves_of_runs(evidence, others, table, index)
        caption = f"ROC for {table.classes[index]}, with the area under it."
    else:
        every = [roc(table, place, name, place) for place, name in enumerate(table.classes)]
        known = [curve for curve in every if curve is not None]
        # The weakest classes are those that a reader must see.
        curves = sorted(known, key=lambda curve: curve.area)[:CURVES]
        few = f", the {CURVES} weakest classes" if len(known) > CURVES else ""
        caption = f"ROC of each class against the rest{few}, with the area under it."
    if not curves:
        return []
    dot = " The dot is the threshold on this split." if at else ""
    return [figure(figures.roc_curves(curves, at), caption + dot)]


def _curves_of_runs(
    evidence: Evidence, others: Sequence[Evidence], table: PredictionTable, index: int
) -> list[Roc]:
    curves = [roc(table, index, "student")]
    names = distinct_names([evidence, *others])[1:]
    for series, (name, other) in enumerate(zip(names, others, strict=True), start=FIRST_OTHER):
        theirs = other.table(table.task)
        if theirs and _comparable(table, theirs):
            curves.append(roc(theirs, index, name, series))
    return [curve for curve in curves if curve is not None]


def _comparable(own: PredictionTable, theirs: PredictionTable) -> bool:
    """Whether two networks were asked the same of the same images."""
    return theirs.classes == own.classes and shared_samples(own, theirs).same


def _two_classes(table: PredictionTable, index: int, point: dict[str, Any] | None) -> list[Html]:
    name = table.classes[index]
    stated, actual = table.probabilities[:, index].astype(float), table.targets == index
    groups = {
        name: (SERIES[0], stated[actual]), table.classes[1 - index]: (MUTED, stated[~actual])
    }  # fmt: skip
    diagram = figures.reliability_diagram(
        reliability(stated, actual), "stated probability", "share that came true"
    )
    spread = figures.histogram(groups, f"probability of {name}", point["value"] if point else None)
    return [
        figure(diagram, f"Reliability: of the images said to be {name} with some probability, how "
               "many are. On the dotted line words and facts agree; lines are 95 % intervals."),
        figure(spread, f"Probability of {name} that each image got, by its true class."),
    ]  # fmt: skip


def _many_classes(table: PredictionTable) -> list[Html]:
    sure, right = table.probabilities.max(axis=1).astype(float), table.predicted == table.targets
    diagram = figures.reliability_diagram(
        reliability(sure, right), "stated probability", "share that was right"
    )
    groups = {"right": (SERIES[0], sure[right]), "wrong": (SERIES[1], sure[~right])}
    spread = figures.histogram(groups, "probability of the class called")
    return [
        figure(diagram, "Reliability: how often an answer of some probability is right. On the "
               "dotted line words and facts agree; lines are 95 % intervals."),
        figure(spread, "How sure the student was, where it was right and where it was wrong."),
    ]  # fmt: skip


def _mistake(evidence: Evidence, mistake: dict[str, Any]) -> Html:
    picture = (evidence.run.worst / mistake["file"]).read_bytes()
    sure = f"{100 * mistake['probability']:.0f} %"
    alt = (
        f"Image of {mistake['target']}, wrongly called {mistake['predicted']} with a probability "
        f"of {sure}."
    )
    source = f"data:image/png;base64,{b64encode(picture).decode()}"
    return figure(
        element("img", src=source, alt=alt),
        together(["called ", element("strong", mistake["predicted"]), " ", number(sure), " "]),
        element("small", f"truth: {mistake['target']}"),
    )
