"""The tables of a comparison, in the shapes of those of the RD paper."""

from collections.abc import Callable, Iterable, Sequence
from statistics import mean

from medistill.report.markup import Html, element
from medistill.report.rivals.account import Account, Row, Standing
from medistill.report.tables import Table
from medistill.report.wording import (
    UNDEFINED,
    amount,
    counted,
    difference_of,
    metric,
    significant,
    value_of,
)
from medistill.spreads import Spread

DAGGER = "\N{DAGGER}"  # a start without an expert of its own


class Best(str):
    """A cell that stands out: the best of its row."""

    __slots__ = ()


def methods_table(account: Account) -> Table | None:
    """Each method in each block: the paper's Table 3."""
    labels = _labels(account, lambda row: row.student and not row.after and not row.varies)
    rows = [
        [one.data, student_of(one), one.teacher or UNDEFINED, _probe(account, one),
         *_cells(account, one, labels)]
        for one in account.whole
    ]  # fmt: skip
    head = ["data", "student", "foundation model", "its probe", *labels]
    return _measured(account, head, rows, "Every method in every block")


def tuned_table(account: Account) -> Table | None:
    """Foundation models tuned with few parameters, then distilled: the paper's Table 4."""
    labels = _labels(account, lambda row: row.student and row.after is not None)
    # Of several tasks a stage is the foundation model of all, and no rival to be told apart.
    if not labels or any(one.tasks for one in account.whole):
        return None
    labels.append(account.labels[account.own])
    rows = [[one.data, student_of(one), *_cells(account, one, labels)] for one in account.whole]
    rows.append(["average", "", *(_average(account, label) for label in labels)])
    return _measured(account, ["data", "student", *labels], rows, "Each tuned model, distilled")


def ablation_table(account: Account) -> Table | None:
    """A method with and without its parts: the paper's Table 5, with the spread over seeds."""
    varied = {row.method for _, row in account.rows() if _ablates(row)}
    labels = _labels(
        account,
        lambda row: row.entry == account.reference or (row.method in varied and not row.after),
    )
    sizes = any(one.tasks for one in account.whole)
    rows = [
        [label, *([_held(account, label)] if sizes else []),
         *(told(account.metric, found(account, one, label)) for one in account.whole)]
        for label in labels
    ]  # fmt: skip
    head = ["", *(["parameters"] if sizes else []), *map(place, account.whole)]
    if not varied:
        return None
    return _measured(account, head, rows, f"Variants of a method beside {account.rival}")


def size_table(account: Account) -> Table | None:
    """Gain over the student alone by the number of training samples: the paper's Table 6."""
    ordered = sorted(account.standings, key=_by_size)
    labels = _labels(account, lambda row: row.student and row.entry != account.reference)
    rows = [
        [place(one), f"{one.images.get('train', 0):,}", _alone(account, one),
         *(_signed(account, [gain(account, one, label)]) for label in labels)]
        for one in ordered
    ]  # fmt: skip
    head = ["", f"training {account.samples}", account.labels[account.reference], *labels]
    what = f"Gain over {account.rival}, by the size of the data"
    return _measured(account, head, rows, what)


def teacher_table(account: Account) -> Table | None:
    """Mean gain over the student alone, by foundation model."""
    teachers = list(dict.fromkeys(one.teacher for one in account.whole if one.teacher))
    if not teachers:
        return None
    groups = {name: {name} for name in teachers}
    groups |= {"all": set(teachers)} if len(teachers) > 1 else {}
    rows = [
        [label, *(_signed(account, _gains(account, label, names)) for names in groups.values())]
        for label in _labels(account, lambda row: row.student and row.entry != account.reference)
    ]
    what = f"Mean gain over {account.rival}, over sets and students, by foundation model"
    return _measured(account, ["", *groups], rows, what)


def tuning_table(account: Account) -> Table | None:
    """Which weight validation chose for each method."""
    rows = [
        [place(one), row.label, ", ".join(map(significant, sorted(row.tried))),
         significant(row.tried[0] if row.weight is None else row.weight)]
        for one, row in account.rows() if row.tried
    ]  # fmt: skip
    caption = (
        f"Each method chose among {account.tune} weights of its own term, by the validation of "
        f"seed {account.seeds[0]}. Methods that are not here have no such term."
    )
    return Table(["", "method", "tried", "chosen"], rows, caption) if rows else None


def drawn(table: Table | None) -> list[Html]:
    """A table on the page under its words, with what stands out in bold; nothing without one."""
    if table is None:
        return []
    rows = [
        [element("strong", cell) if isinstance(cell, Best) else cell for cell in row]
        for row in table.rows
    ]
    # A caption is as narrow as its table; words above it are not.
    return [element("p", table.caption, class_="quiet"), Table(table.head, rows).html("figured")]


def found(account: Account, one: Standing, label: str) -> Spread | None:
    """What a label reached in a block; None where it did not run."""
    row = next((row for row in one.rows if row.label == label), None)
    return row.metrics.get(account.metric) if row else None


def gain(account: Account, one: Standing, label: str) -> float | None:
    """How far a label's mean lies above the student alone."""
    own, alone = found(account, one, label), found(account, one, account.labels[account.reference])
    return own.mean - alone.mean if own and alone else None


def told(name: str, spread: Spread | None) -> str:
    """Mean and deviation, without the unit, which a caption names: 66.8 ± 1.4."""
    if spread is None:
        return UNDEFINED
    value = bare(name, spread.mean)
    return value if spread.sd is None else f"{value} ± {bare(name, spread.sd)}"


def bare(name: str, value: float) -> str:
    """A value without its unit."""
    return value_of(name, value).removesuffix(" %")


def place(one: Standing) -> str:
    """A block in a few words: covid_ct · mobilenetv2_100 to shufflenet_v2_x1_0 · 25 %."""
    pair = f"{one.teacher} to {student_of(one)}" if one.teacher else student_of(one)
    share = [f"{100 * one.fraction:g} %"] if one.fraction < 1 else []
    return " · ".join([one.data, pair, *share])


def student_of(one: Standing) -> str:
    """The student, and where it starts if not from random weights."""
    start = f" from {one.start.rstrip('/').rpartition('/')[2]}" if one.start else ""
    return f"{one.student}{start}"


def labels_of(account: Account) -> list[str]:
    """Labels of everything that ran, in the order of the comparison."""
    return _labels(account, lambda row: True)


def _labels(account: Account, wanted: Callable[[Row], bool]) -> list[str]:
    present = {row.entry for _, row in account.rows() if wanted(row)}
    return [label for entry, label in account.labels.items() if entry in present]


def _measured(
    account: Account, head: Sequence[str], rows: Sequence[Sequence[str]], what: str
) -> Table | None:
    unit = " in %" if metric(account.metric).percent else ""
    spread = "mean ± deviation of " if len(account.seeds) > 1 else ""
    seeds = f"{spread}{counted(len(account.seeds), 'seed')}"
    caption = f"{what}. {metric(account.metric).words}{unit} on test, {seeds}."
    return Table(head, rows, caption) if rows else None


def _cells(account: Account, one: Standing, labels: Iterable[str]) -> list[str]:
    """Means of a block; the best of them stands out."""
    spreads = [found(account, one, label) for label in labels]
    means = [spread.mean for spread in spreads if spread]
    best = (min if metric(account.metric).lower else max)(means, default=None)
    return [
        Best(text) if spread and spread.mean == best else text
        for spread, text in ((spread, told(account.metric, spread)) for spread in spreads)
    ]


def held(row: Row) -> str:
    """The parameters of all that a row deploys, what several tasks share counted once."""
    return amount(row.together.get("parameters") or row.cost.get("parameters"))


def _held(account: Account, label: str) -> str:
    return next((held(row) for _, row in account.rows() if row.label == label), UNDEFINED)


def _ablates(row: Row) -> bool:
    return row.varies and not row.after and row.student


def _probe(account: Account, one: Standing) -> str:
    known = one.probe.get(account.metric)
    return bare(account.metric, known.mean) if known else UNDEFINED


def _average(account: Account, label: str) -> str:
    """Over all blocks; of those that lack some it would compare unlike things."""
    spreads = [found(account, one, label) for one in account.whole]
    known = [spread.mean for spread in spreads if spread]
    return bare(account.metric, mean(known)) if len(known) == len(spreads) else UNDEFINED


def _alone(account: Account, one: Standing) -> str:
    return told(account.metric, found(account, one, account.labels[account.reference]))


def _gains(account: Account, label: str, teachers: set[str]) -> list[float | None]:
    return [gain(account, one, label) for one in account.whole if one.teacher in teachers]


def _signed(account: Account, gains: Sequence[float | None]) -> str:
    known = [value for value in gains if value is not None]
    return (
        difference_of(account.metric, mean(known)).removesuffix(" points") if known else UNDEFINED
    )


def _by_size(one: Standing) -> tuple[str, str, str, str, float]:
    return (one.data, one.teacher or "", one.student, one.start or "", one.fraction)
