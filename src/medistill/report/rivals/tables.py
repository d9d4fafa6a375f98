"""The tables of a comparison, in the shapes of those of the RD paper."""

from collections.abc import Callable, Sequence
from math import isclose
from statistics import mean, stdev

from medistill.report.markup import Html, element
from medistill.report.rivals.account import Account, Against, Row, Standing
from medistill.report.tables import Table
from medistill.report.wording import (
    UNDEFINED,
    amount,
    counted,
    difference_of,
    inside,
    metric,
    significant,
    value_of,
)
from medistill.spreads import Spread

DAGGER = "\N{DAGGER}"  # a start without an expert of its own
ITSELF = "FM"  # the foundation model, trained and judged itself
ROUNDING = 1e-9  # means of the same values, added in another order, differ by some 1e-16


_NOISE = "(noise): p of 0.05 or more, by Holm's method."


class Best(str):
    """A cell that stands out: the best of its row."""

    __slots__ = ()


def methods_table(account: Account) -> Table | None:
    """Each method in each block, and the tuned foundation model: the paper's Table 3."""
    itself = _labels(account, lambda row: not row.student)
    labels = _labels(account, lambda row: row.student and not row.after and not row.varies)
    rows = [
        [one.data, student_of(one), one.teacher or UNDEFINED, _probe(account, one),
         *_cells(account, one, [*itself, *labels])]
        for one in account.whole
    ]  # fmt: skip
    head = ["data", "student", "foundation model", "its probe", *_heads(account, itself), *labels]
    return _measured(account, head, rows, "Every method in every block")


def tuned_table(account: Account) -> Table | None:
    """Foundation models tuned with few parameters, then distilled: the paper's Table 4."""
    distilled = _labels(account, lambda row: row.student and row.after is not None)
    # Of several tasks a stage is the foundation model of all, and no rival to be told apart.
    if not distilled or any(one.tasks for one in account.whole):
        return None
    labels = _labels(account, lambda row: not row.student or row.after is not None)
    own = account.labels[account.own]
    labels += [own] if own not in labels else []
    rows = [[one.data, student_of(one), *_cells(account, one, labels)] for one in account.whole]
    rows.append(["average", "", *(_average(account, label) for label in labels)])
    head = ["data", "student", *_heads(account, labels)]
    return _measured(account, head, rows, "Each tuned model, distilled")


def ablation_table(account: Account) -> Table | None:
    """A method with and without its parts: the paper's Table 5, with the spread over seeds."""
    varied = {row.method for _, row in account.rows() if _ablates(row)}
    sizes = any(one.tasks for one in account.whole)
    if not varied:
        return None

    def stands(row: Row) -> bool:
        varies = row.method in varied and not row.after
        # The foundation model of several tasks stands by task.
        return row.entry == account.reference or varies or not (row.student or sizes)

    labels = _labels(account, stands)
    rows = [
        [head, *_ablated(account, label, sizes)]
        for head, label in zip(_heads(account, labels), labels, strict=True)
    ]
    head = ["", *(["parameters"] if sizes else []), *map(place, account.whole)]
    return _measured(account, head, rows, f"Variants of a method beside {account.rival}")


def _rivals(account: Account) -> list[str]:
    """Students other than the one that gains are counted from."""
    return _labels(account, lambda row: row.student and row.entry != account.reference)


def _ablated(account: Account, label: str, sizes: bool) -> list[str]:
    """A row: what a variant reached in each block, after its size where tasks share networks."""
    means = [reached(account, found(account, one, label)) for one in account.whole]
    return [_held(account, label), *means] if sizes else means


def size_table(account: Account) -> Table | None:
    """Gain over the student alone by the number of training samples: the paper's Table 6."""
    ordered = sorted(account.standings, key=_by_size)
    labels = _rivals(account)
    rows = [
        [place(one), f"{one.images.get('train', 0):,}", _alone(account, one),
         *(_signed(account, [against_alone(one, label)]) for label in labels)]
        for one in ordered
    ]  # fmt: skip
    head = ["", f"training {account.samples}", account.labels[account.reference], *labels]
    if not labels:
        return None
    what = f"Gain over {account.rival} by the size of the data, {_points(account)}"
    return Table(head, rows, f"{what}: {_over_seeds(account)}. {_NOISE}")


def teacher_table(account: Account) -> Table | None:
    """Mean gain over the student alone, by foundation model."""
    teachers = list(dict.fromkeys(one.teacher for one in account.whole if one.teacher))
    if not teachers:
        return None
    groups = {name: {name} for name in teachers}
    groups |= {"all": set(teachers)} if len(teachers) > 1 else {}
    rows = [
        [label, *(_signed(account, _gains(account, label, names)) for names in groups.values())]
        for label in _rivals(account)
    ]
    what = f"Mean gain over {account.rival} by foundation model, {_points(account)}"
    caption = f"{what}: {_over_seeds(account)}. {_NOISE}"
    if sum(one.teacher is not None for one in account.whole) > 1:
        caption += (
            " Of several sets and students: mean ± deviation over these, and in how many of them "
            "it is no noise."
        )
    return Table(["", *groups], rows, caption) if rows else None


def tuning_table(account: Account) -> Table | None:
    """Which weight validation chose for each method."""
    rows = [
        [place(one), row.label, ", ".join(map(significant, sorted(row.tried))),
         significant(row.tried[0] if row.weight is None else row.weight)]
        for one, row in account.rows() if row.tried
    ]  # fmt: skip
    caption = (
        f"Each method chose among {account.tune} weights of its own term, by the validation of "
        f"seed {account.seeds[0]}. Those that are not here have none that is not switched off."
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


def against_alone(one: Standing, label: str) -> Against | None:
    """How far a label lies above the student alone, over the seeds that both have."""
    return next((row.alone for row in one.rows if row.label == label), None)


def reached(account: Account, spread: Spread | None) -> str:
    """Mean and deviation, and over how many seeds where some are missing."""
    return f"{told(account.metric, spread)}{fewer(account, spread)}"


def in_sentence(account: Account, spread: Spread | None) -> str:
    """The same with its unit."""
    unit = " %" if metric(account.metric).percent else ""
    return f"{told(account.metric, spread)}{unit}{fewer(account, spread)}"


def fewer(account: Account, spread: Spread | None) -> str:
    """A remark where there are fewer seeds than were asked for; else nothing."""
    asked = len(account.seeds)
    if spread is None or spread.seeds >= asked:
        return ""
    return f" ({spread.seeds} of {counted(asked, 'seed')})"


def equal(one: float, other: float) -> bool:
    """Whether two means are the same but for the order in which their values were added."""
    return isclose(one, other, rel_tol=0, abs_tol=ROUNDING)


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
    return " ".join(filter(None, (one.student, start_of(one))))


def start_of(one: Standing) -> str:
    """The run that the student starts from; nothing from random weights."""
    return f"from {one.start.rstrip('/').rpartition('/')[2]}" if one.start else ""


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
    caption = f"{what}. {metric(account.metric).words}{unit} on test, {_over_seeds(account)}."
    if any(name.startswith(f"{ITSELF} (") for name in (*head, *(row[0] for row in rows))):
        caption += f" {ITSELF}: the foundation model itself, trained."
    return Table(head, rows, caption) if rows else None


def _over_seeds(account: Account) -> str:
    spread = "mean ± deviation of " if len(account.seeds) > 1 else ""
    return f"{spread}{counted(len(account.seeds), 'seed')}"


def _heads(account: Account, labels: Sequence[str]) -> list[str]:
    """Labels as the columns of a table call them: what is no student says so."""
    itself = {row.label for _, row in account.rows() if not row.student}
    return [f"{ITSELF} ({label})" if label in itself else label for label in labels]


def _cells(account: Account, one: Standing, labels: Sequence[str]) -> list[str]:
    """Means of a block; the best student stands out."""
    students = {row.label for row in one.students}
    spreads = {label: found(account, one, label) for label in labels}
    means = {label: s.mean for label, s in spreads.items() if s and label in students}
    best = (min if metric(account.metric).lower else max)(means.values(), default=float("nan"))
    top = {label for label, value in means.items() if equal(value, best)}
    texts = {label: reached(account, spread) for label, spread in spreads.items()}
    return [Best(text) if label in top else text for label, text in texts.items()]


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
    known = [spread for spread in spreads if spread]
    if len(known) < len(spreads):
        return UNDEFINED
    lacking = any(fewer(account, spread) for spread in known)
    average = bare(account.metric, mean(spread.mean for spread in known))
    return f"{average} (seeds are missing)" if lacking else average


def _alone(account: Account, one: Standing) -> str:
    return reached(account, found(account, one, account.labels[account.reference]))


def _points(account: Account) -> str:
    """What a difference is measured in."""
    about = metric(account.metric)
    unit = "in points of " if about.percent else f"in {about.unit} of " if about.unit else "in "
    return f"{unit}{inside(account.metric)} on test"


def _gains(account: Account, label: str, teachers: set[str]) -> list[Against | None]:
    return [against_alone(one, label) for one in account.whole if one.teacher in teachers]


def _signed(account: Account, gains: Sequence[Against | None]) -> str:
    """The mean gain over blocks with its deviation, and what of it is no noise."""
    known = [one for one in gains if one is not None]
    if not known:
        return UNDEFINED
    values = [one.value for one in known]
    sd = stdev(values) if len(values) > 1 else known[0].sd
    signed = difference_of(account.metric, mean(values)).partition(" ")[0]
    spread = "" if sd is None else f" ± {bare(account.metric, sd).partition(' ')[0]}"
    return f"{signed}{spread}{_certain(known)}"


def _certain(gains: Sequence[Against]) -> str:
    """A remark on a gain: noise, not judged, or in how many of several blocks it is more."""
    if all(one.noise is None for one in gains):
        return " (not judged)"
    sure = sum(one.noise is False for one in gains)
    if not sure:
        return " (noise)"
    return f" ({sure} of {len(gains)})" if len(gains) > 1 else ""


def _by_size(one: Standing) -> tuple[str, str, str, str, float]:
    return (one.data, one.teacher or "", one.student, one.start or "", one.fraction)
