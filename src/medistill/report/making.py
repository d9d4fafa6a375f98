"""How a student was made: learning curves, data, cost, recipe and environment."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import PurePath
from typing import Any, Final

from medistill.report import figures
from medistill.report.evidence import Document, Evidence
from medistill.report.figures import Line
from medistill.report.markup import Html, element, figure, folded, number, together
from medistill.report.tables import Table
from medistill.report.wording import (
    UNDEFINED,
    amount,
    counted,
    duration,
    inside,
    listed,
    metric,
    significant,
    spoken,
)

SELECT = "balanced_accuracy"  # what a recipe selects by, unless it says otherwise
COSTS: Final = {
    "parameters": ("Parameters", ""),
    "macs": ("Multiply-accumulates an image", ""),
    "convolution_macs": ("of these in convolutions", ""),
    "flops": ("Floating-point operations an image", ""),
    "bytes": ("Weights", "B"),
    "latency_ms_p50": ("CPU latency an image, median", "ms"),
    "latency_ms_p95": ("CPU latency an image, 95th percentile", "ms"),
    "seconds_a_volume": ("CPU time a volume, median", "s"),
}


def learning(evidence: Evidence) -> list[Html]:
    """Each loss term and the validation metric over the epochs."""
    log = evidence.log
    if not log:
        return []
    chosen = next((r["epoch"] for r in reversed(log) if r.get("best")), None)
    last = log[-1]["epoch"]
    told = _epochs(last, evidence.part("training").get("epochs"))
    seconds = evidence.environment.get("seconds")
    best = "was chosen" if evidence.metrics else "is the best so far"
    told += f", {duration(seconds)} in all." if seconds is not None else "."
    pictures = [*_losses(log), *_validation(evidence, chosen)]
    return [
        element("h2", "Learning"),
        element("p", told, *([f" Epoch {chosen} {best} on validation."] if chosen else [])),
        element("div", *pictures, class_="figures wide"),
    ]


def data(evidence: Evidence, task: str) -> list[Html]:
    """Images by split and class, how they were split, and what was found in them."""
    account = evidence.data.get(task)
    if not account:
        return []
    counts: dict[str, dict[str, int]] = account.get("counts", {})
    return [
        element("h3", "Data"),
        *(
            [element("p", f"Splits: {account['how'].replace(': ', ' ')}.")]
            if account.get("how")
            else []
        ),
        *([_counts(counts, account.get("volumes")).html("figured")] if _classes(counts) else []),
        *_findings(account.get("findings", [])),
    ]


def cost(evidence: Evidence) -> list[Html]:
    """What student and teacher cost, and how faithful the exported file is."""
    sides = {side: evidence.cost.get(side) or {} for side in ("student", "teacher")}
    known = {side: found for side, found in sides.items() if found}
    processor = evidence.environment.get("processor")
    # What a network answers at once: a volume is answered patch by patch.
    unit = "patch" if any(evidence.segments(task) for task in evidence.tasks) else "image"
    on = f"One {unit} at a time in ONNX Runtime{f' on {processor}' if processor else ''}."
    costs = _costs(known, evidence.cost.get("ratios") or {}, on, unit)
    parts = [
        *([costs.html("figured")] if known else []),
        *_ranks(evidence.cost),
        *_parity(evidence.parity, unit),
    ]
    return [element("h2", "Cost and export"), *parts] if parts else []


def record(evidence: Evidence) -> list[Html]:
    """Recipe and environment, word for word but for the places of the data: the page travels."""
    parts = []
    if evidence.recipe_text:
        parts.append(folded("Recipe", element("pre", _placeless(evidence).strip(), tabindex=0)))
    if evidence.environment:
        rows = [[key, value] for key, value in _flat(evidence.environment)]
        parts.append(folded("Environment", Table(["what", "value"], rows).html("facts")))
    return [element("h2", "Record"), *parts] if parts else []


def _placeless(evidence: Evidence) -> str:
    text, roots = evidence.recipe_text, evidence.roots.values()
    # The longest first: one folder may lie within another.
    for known in sorted({str(root["root"]) for root in roots}, key=len, reverse=True):
        place = PurePath(known)
        if place.is_absolute() and place.name:
            # YAML breaks a long line at any space.
            words = r"\s+".join(map(re.escape, known.split(" ")))
            text = f".../{place.name}".join(re.split(words, text))
    return text


def _epochs(last: int, wanted: int | None) -> str:
    """How many there were, of how many; those beyond belong to further stages, as long."""
    if wanted is None or last <= wanted:
        of = f" of {wanted}" if wanted else ""
        return f"{last}{of} {'epoch' if (wanted or last) == 1 else 'epochs'}"
    return f"{last} epochs in stages of {wanted}"


def _losses(log: Sequence[Document]) -> list[Html]:
    names = dict.fromkeys(name for r in log for name in r.get("losses", {}))
    lines = [_line(spoken(name), log, "losses", name) for name in names]
    if not lines:
        return []
    return [figure(figures.lines(lines, "loss"), "Each term of the loss, as weighted in training.")]


def _validation(evidence: Evidence, chosen: int | None) -> list[Html]:
    """The metric that chose the epoch, one line a task."""
    found = (record.get("validation") or {} for record in evidence.log)
    measured = [by_task for by_task in found if any(by_task.values())]
    if not measured:
        return []
    tasks = dict.fromkeys(chain.from_iterable(measured))
    keys = chain.from_iterable(one for by_task in measured for one in by_task.values())
    key = _selected(evidence, list(keys))
    lines = [_line(task, evidence.log, "validation", task, key) for task in tasks]
    mark = "; the dot is the chosen epoch" if chosen is not None else ""
    caption = f"{metric(key).words} on validation{mark}."
    return [figure(figures.lines(lines, inside(key), chosen), caption)]


def _selected(evidence: Evidence, measured: Sequence[str]) -> str:
    """What the epoch was chosen by; where the log lacks it, the first that it has."""
    select = evidence.part("training").get("select", SELECT)
    return str(select) if select in measured else measured[0]


def _line(name: str, log: Sequence[Document], *path: str) -> Line:
    """What stands at the end of a path in each record; NaN where nothing does."""
    values = [_at(record, path) for record in log]
    numbers = [float("nan") if value is None else float(value) for value in values]
    return Line(name, [record["epoch"] for record in log], numbers)


def _at(record: Document, path: Sequence[str]) -> Any:
    found: Any = record
    for key in path:
        found = (found or {}).get(key)
    return found


def _ranks(cost: Document) -> list[Html]:
    """Of experts, which were folded in."""
    ranks = (cost.get("unfused") or {}).get("ranks", [])
    if not ranks:
        return []
    how = f"{listed([str(rank) for rank in ranks])}, in the order of the regions"
    return [element("p", f"Folded into the networks: experts of rank {how}.", class_="quiet")]


def _costs(
    known: Mapping[str, Document], ratios: Mapping[str, float | int], on: str, unit: str
) -> Table:
    """A row for each quantity that student or teacher has."""
    rows = []
    for key, (words, measure) in COSTS.items():
        values = [found.get(key) for found in known.values()]
        if any(value is not None for value in values):
            ratio = [_ratio(ratios.get(key))] if ratios else []
            named = words if unit == "image" else words.replace("an image", f"a {unit}")
            rows.append([named, *(number(amount(value, measure)) for value in values), *ratio])
    return Table(["", *known, *(["student / teacher"] if ratios else [])], rows, on)


def _counts(counts: Mapping[str, Mapping[str, int]], cases: Mapping[str, int] | None) -> Table:
    """Images by class and split, or the cases that show each class: those may show several."""
    classes = _classes(counts)
    rows = [
        [name, *(f"{found.get(name, 0):,}" for found in counts.values()),
         f"{sum(found.get(name, 0) for found in counts.values()):,}"]
        for name in classes
    ]  # fmt: skip
    totals = [
        sum(found.values()) if cases is None else cases.get(split, 0)
        for split, found in counts.items()
    ]
    rows.append(["all", *(f"{total:,}" for total in totals), f"{sum(totals):,}"])
    told = (
        "Images by class and split." if cases is None else "Cases that show each class, by split."
    )
    return Table(["class", *map(spoken, counts), "all"], rows, told)


def _classes(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    return list(dict.fromkeys(name for found in counts.values() for name in found))


def _findings(found: Sequence[Mapping[str, str]]) -> list[Html]:
    if not found:
        return [element("p", "Nothing was found amiss in the images.", class_="quiet")]
    items = [
        element(
            "li",
            element("b", one["severity"], class_=_severity(one)),
            " ",
            element("span", one["message"]),
        )
        for one in found
    ]
    return [element("ul", *items, class_="findings")]


def _severity(finding: Mapping[str, str]) -> str:
    return finding["severity"] if finding["severity"] in ("error", "warning") else "note"


def _ratio(ratio: float | int | None) -> str:
    return UNDEFINED if ratio is None else number(significant(ratio))


def _parity(parity: Mapping[str, Document], unit: str) -> list[Html]:
    if not parity:
        return []
    # One number for all tasks: what matters is that none is off.
    largest = max(found["largest"] for found in parity.values())
    pictures = sum(found["pictures"] for found in parity.values())
    told = [
        "The exported ONNX file and the trained network differ by at most ",
        number(f"{largest:.0e}" if largest else "0"),
        f" in a probability, over {counted(pictures, f'validation {unit}')}.",
    ]
    return [element("p", together(told))]


def _flat(document: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    """Every value with the path to it; empty ones are left out."""
    told: list[tuple[str, str]] = []
    for key, value in document.items():
        if isinstance(value, Mapping):
            told += _flat(value, f"{path}{key} · ")
        elif value is not None:
            told.append((f"{path}{key}", value if isinstance(value, str) else json.dumps(value)))
    return told
