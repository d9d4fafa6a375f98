"""How a deployed student outlines one task: by class, by case, in slices and in millilitres."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from re import fullmatch
from typing import Any, Final

import numpy as np

from medistill.case_results import CaseResult
from medistill.report.comparison import contenders
from medistill.report.evidence import Evidence
from medistill.report.markup import Html, element, figure, number, together
from medistill.report.tables import Table, class_table
from medistill.report.volumes.figures import Agreement, agreement, signed, spread
from medistill.report.volumes.slices import OUTLINES
from medistill.report.wording import UNDEFINED, metric, significant, value_of

MEASURED: Final = ("dice", "surface_dice", "hd95_mm")
VIEWS: Final = (
    ": from the feet, from the front and from the left, with the patient's right on the left"
)
FRAMED: Final = (
    ", along directions of these scans' own, since their slices lie between the axes of the body"
)
PANELS = 6  # classes whose agreement is drawn; the table holds all
NAME = 8  # letters of a digest that tell cases apart


def by_class(evidence: Evidence, others: Sequence[Evidence], task: str) -> list[Html]:
    """Every network's metrics of each class."""
    found, classes = contenders(evidence, others, task), evidence.classes(task)
    known = [name for name in classes if any(f"dice/{name}" in one.estimates for one in found)]
    if not known:
        return []
    tolerance = evidence.part("evaluation").get("tolerance_mm", 1)
    told = (
        "Means over the cases; beneath each value its 95 % interval. NSD counts a surface as right "
        f"that lies within {tolerance:g} mm. Where a class is absent, finding nothing scores 1 and "
        "finding something 0; HD95 is over the cases in which both surfaces exist."
    )
    return [element("h3", "By class"), class_table(found, known, MEASURED, told).html("results")]


def by_case(evidence: Evidence, task: str) -> list[Html]:
    """How the scores spread over the cases."""
    cases = evidence.cases(task)
    pictures = [
        figure(spread(values, key), f"{metric(key).words} of each case.")
        for key in MEASURED
        if (values := _values(cases, evidence.classes(task), key))
    ]
    if not pictures:
        return []
    told = (
        "A dot is a case; of many cases only those far out are dots. A box holds the middle half, "
        "the line in it is the median."
    )
    return [
        element("h3", "By case"),
        element("p", told, class_="quiet"),
        element("div", *pictures, class_="figures wide"),
    ]


def slices(evidence: Evidence, task: str) -> list[Html]:
    """The worst cases and a typical one, with the outlines of truth and prediction."""
    shown = [picture for picture in evidence.slices if picture["task"] == task]
    if not shown:
        return []
    order = sorted(evidence.cases(task), key=lambda case: case.dice)
    seen = _seen(evidence.configs.get(task, {}).get("preparation", {}))
    told = (
        f"The planes in which most voxels are wrong{seen}. Solid lines are the prediction, dashed "
        "ones around a tint the truth."
    )
    return [
        element("h3", "Worst cases, and a typical one"),
        element("p", told, class_="quiet"),
        _legend(shown, evidence.classes(task)),
        element("div", *(_slice(evidence, one, order) for one in shown), class_="slices"),
    ]


def _seen(preparation: Mapping[str, Any]) -> str:
    """From where the planes are seen, as far as it is known."""
    if preparation.get("frame") is not None:
        return FRAMED
    return VIEWS if preparation.get("orientation") == "RAS" else ""


def volumes(evidence: Evidence, task: str) -> list[Html]:
    """Whether predicted volumes agree with the true ones."""
    cases = evidence.cases(task)
    found = {
        name: agreed for name in evidence.classes(task) if (agreed := agreement_of(cases, name))
    }
    if not found:
        return []
    widest = sorted(found, key=lambda name: -_relative_width(found[name]))[:PANELS]
    pictures = [figure(agreement(found[name], name)) for name in found if name in widest]
    few = f" The {PANELS} classes with the widest limits." if len(found) > PANELS else ""
    told = (
        "Each dot is a case. The solid line is the bias, the dashed ones are the limits that hold "
        f"95 % of the differences, were they normal.{few}"
    )
    return [
        element("h3", "Volumes"),
        _volume_table(cases, found).html("figured"),
        element("div", *pictures, class_="figures"),
        element("p", told, class_="quiet"),
    ]


def agreement_of(cases: Sequence[CaseResult], name: str) -> Agreement | None:
    """Predicted against true volumes of a class; None where no case was annotated for it."""
    scores = [case.scores[name] for case in cases if name in case.scores]
    if not scores:
        return None
    true, said = (np.array([getattr(s, side) for s in scores]) for side in _SIDES)
    return Agreement((true + said) / 2, said - true)


_SIDES: Final = ("truth_ml", "predicted_ml")


def _relative_width(found: Agreement) -> float:
    """Of the limits, by the size of the organ."""
    low, high = found.limits or (0.0, 0.0)
    return (high - low) / max(float(found.means.mean()), 1e-9)


def _volume_table(cases: Sequence[CaseResult], found: Mapping[str, Agreement]) -> Table:
    rows = []
    for name, agreed in found.items():
        scores = [case.scores[name] for case in cases if name in case.scores]
        present = [score for score in scores if score.truth_ml]
        missed = sum(not score.predicted_ml for score in present)
        invented = sum(bool(score.predicted_ml) for score in scores if not score.truth_ml)
        limits = agreed.limits
        rows.append([
            name, f"{len(present)} of {len(scores)}", str(missed), str(invented),
            significant(float(np.mean([score.truth_ml for score in scores]))),
            signed(agreed.bias),
            f"{signed(limits[0])} to {signed(limits[1])}" if limits else UNDEFINED,
        ])  # fmt: skip
    head = ["class", "present in", "missed in", "found where absent", "true mean, ml", "bias, ml",
            "limits of agreement, ml"]  # fmt: skip
    return Table(head, rows, "Volumes over the cases; a bias is predicted minus true.")


def _values(cases: Sequence[CaseResult], classes: Sequence[str], key: str) -> dict[str, np.ndarray]:
    """A metric of every case by class, as far as it is defined."""
    found = {
        # As a float, None is NaN.
        name: np.array(
            [getattr(case.scores[name], key) for case in cases if name in case.scores], float
        )
        for name in classes
    }
    finite = {name: values[np.isfinite(values)] for name, values in found.items()}
    return {name: values for name, values in finite.items() if len(values)}


def _legend(shown: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Html:
    """The colour of each class that some slice shows."""
    known = {name: OUTLINES[place % len(OUTLINES)] for place, name in enumerate(classes)}
    told = [picture["colours"] for picture in shown if picture.get("colours")]
    # The index may come from elsewhere, and a style is no place for its words.
    said = {n: c for colours in told for n, c in colours.items() if fullmatch("#[0-9a-f]{6}", c)}
    names = [name for name in known if not told or name in said]
    items = [
        element("span", name, class_="outline", style=f"--outline:{said.get(name, known[name])}")
        for name in names
    ]
    return element("p", together(items, " "), class_="outlines")


def _slice(
    evidence: Evidence,
    picture: Mapping[str, Any],
    order: Sequence[CaseResult],
) -> Html:
    content = (evidence.run.slices / picture["file"]).read_bytes()
    case = _pictured(evidence, picture, order)
    name, kind = str(picture["sample"])[:NAME], str(picture.get("kind", ""))
    scores = f" DSC {value_of('dice', case.dice)}." if case else ""
    better = next((place for place, one in enumerate(order) if one is case), 0)
    place = f", {better + 1} of {len(order)} from the worst" if case else ""
    alt = f"Three slices of case {name} with the outlines of truth and prediction.{scores}"
    source = f"data:image/png;base64,{b64encode(content).decode()}"
    caption = together([element("strong", f"case {name}"), f" ({kind}{place})"])
    return figure(
        element("img", src=source, alt=alt),
        caption,
        *([element("small", _scores(case))] if case else []),
    )


def _pictured(
    evidence: Evidence, picture: Mapping[str, Any], order: Sequence[CaseResult]
) -> CaseResult | None:
    """The case of a picture; None where the scores are not those of its run."""
    number, every = picture.get("case"), evidence.all_cases
    fitting = [one for one in order if one.sample == str(picture["sample"])]
    if isinstance(number, int):
        # Identical scans share a digest, which is all that earlier versions told.
        fitting = [one for one in fitting if 0 <= number < len(every) and one is every[number]]
    return fitting[0] if fitting else None


def _scores(case: CaseResult) -> Html:
    """Dice of each class, the worst first; the rest is in the figures."""
    found = sorted(case.scores.items(), key=lambda pair: pair[1].dice)
    told = [together([f"{name} ", number(value_of("dice", score.dice))]) for name, score in found]
    return together([" DSC ", number(value_of("dice", case.dice)), ": ", together(told, ", ")])
