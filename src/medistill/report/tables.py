"""Tables of a run as plain rows, as Markdown and as HTML."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product

from medistill.report.averages import averaged, groups
from medistill.report.comparison import Contender, contenders
from medistill.report.evidence import Evidence
from medistill.report.markup import Html, element, together
from medistill.report.wording import METRICS, interval_of, metric, said, value_of
from medistill.results import Estimate, RunFolder

Rows = list[list[str]]


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first column names the rows.

    Args:
        head: One cell a column.
        rows: As many cells each.
        caption: What the table tells.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def html(self, class_: str | None = None) -> Html:
        """As markup; it scrolls by itself where the screen is narrow."""
        head = element("tr", *(element("th", cell, scope="col") for cell in self.head))
        body = [
            element(
                "tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest)
            )
            for first, *rest in self.rows
        ]
        caption = [element("caption", element("span", self.caption))] if self.caption else []
        table = element("table", *caption, element("thead", head), element("tbody", *body))
        return element("div", table, class_=f"scroll {class_ or ''}".strip(), tabindex=0)


def results_table(run: RunFolder, against: Sequence[RunFolder] = ()) -> Rows:
    """Metrics of every task of a run, in the split that counts, as plain text.

    The first row is the head: task, metric, then a column for each network. A network that was not
    judged on a task has empty cells there. Of several tasks the last rows are their means.
    """
    evidence, others = Evidence(run), [Evidence(other) for other in against]
    judged = {task: contenders(evidence, others, task) for task in evidence.tasks}
    # By series: a run may be called "student" as well.
    names = dict(sorted((one.series, one.name) for found in judged.values() for one in found))
    rows = [["task", f"metric ({evidence.split})", *names.values()]]
    for task, found in judged.items():
        told = {one.series: one.estimates for one in found}
        rows += _lines(task, keys(found), [told.get(series, {}) for series in names])
    return rows + _mean_lines(groups(evidence), judged, names)


def markdown(rows: Rows) -> str:
    """Rows, the first of them the head, as a table in Markdown."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]] if rows else []
    return "\n".join(f"| {' | '.join(map(_marked_down, line))} |" for line in lines)


def metric_table(found: Sequence[Contender], chosen: Iterable[str], caption: str) -> Table:
    """Chosen metrics of the networks side by side, each value above its interval."""
    head = ["", *(_headed(one) for one in found)]
    rows = [[_named(key), *(_cell(key, one.estimates) for one in found)] for key in chosen]
    return Table(head, rows, caption)


def class_table(
    found: Sequence[Contender],
    classes: Sequence[str],
    measured: Sequence[str] = ("sensitivity", "specificity"),
    caption: str = "A class against all others; beneath each value its 95 % interval.",
) -> Table:
    """Some metrics of each class, for each network."""
    columns = list(product(measured, found))
    head = [
        together([metric(name).words, element("small", one.name, class_=one.colour)])
        for name, one in columns
    ]
    rows = [
        [label, *(_cell(f"{name}/{label}", one.estimates) for name, one in columns)]
        for label in classes
    ]
    return Table(["class", *head], rows, caption)


def keys(found: Sequence[Contender]) -> list[str]:
    """Metrics that any network has: those of the whole task first, then those of its classes."""
    known = dict.fromkeys(key for one in found for key in one.estimates)
    return [key for key in METRICS if key in known] + [key for key in known if key not in METRICS]


def _marked_down(cell: str) -> str:
    """A cell that ends where it should: neither a bar nor a new line of its own ends it."""
    return " ".join(cell.splitlines()).replace("\\", "\\\\").replace("|", "\\|")


def _mean_lines(
    groups: Mapping[str, Sequence[str]],
    judged: Mapping[str, Sequence[Contender]],
    series: Iterable[int],
) -> Rows:
    """The rows of tasks taken together."""
    columns, rows = list(series), list[list[str]]()
    for words, tasks in groups.items():
        means = [_means(one, [judged[task] for task in tasks]) for one in columns]
        rows += _lines(words, dict.fromkeys(chain.from_iterable(means)), means)
    return rows


def _lines(first: str, keys: Iterable[str], columns: Sequence[Mapping[str, Estimate]]) -> Rows:
    """A row for each metric: what it is of, its name, and the value in each column."""
    return [
        [first, metric(key).words, *(said(key, column.get(key)) for column in columns)]
        for key in keys
    ]


def _means(series: int, judged: Sequence[Sequence[Contender]]) -> dict[str, Estimate]:
    """What a network reaches on average over some tasks; nothing if it was not judged on all."""
    own = [one.estimates for found in judged for one in found if one.series == series]
    return averaged(own, list(METRICS)) if len(own) == len(judged) else {}


def _headed(one: Contender) -> Html:
    note = [element("small", one.note)] if one.note else []
    return together([element("span", one.name, class_=one.colour), *note], " ")


def _named(key: str) -> Html:
    about = metric(key)
    hint = about.hint + ("; lower is better" if about.lower else "")
    return together([about.words, *([element("small", hint, class_="hint")] if hint else [])], " ")


def _cell(key: str, estimates: Mapping[str, Estimate]) -> Html:
    estimate = estimates.get(key)
    interval = interval_of(key, estimate)
    value = element("span", value_of(key, estimate["value"] if estimate else None), class_="value")
    return together([value, *([element("small", interval)] if interval else [])], " ")
