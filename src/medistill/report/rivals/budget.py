"""Which network is worth its cost: the front of quality and cost, and the best within a budget."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medistill.report.rivals.account import Account, Row, Standing
from medistill.report.rivals.costs import LATENCY
from medistill.report.rivals.figures import Point
from medistill.report.rivals.tables import bare, equal, in_sentence, start_of, student_of
from medistill.report.tables import Table
from medistill.report.wording import UNDEFINED, Number, amount, inside, metric, significant
from medistill.spreads import Spread

MEGABYTE = 1e6
MILLISECONDS = {"ms": 1.0, "s": 1e3}
DIGITS = 9  # of a score: means of the same values in another order are equal

Network = tuple[str, int, Mapping[str, Number | None], Mapping[str, Spread], str]
"""Its name, the number of its kind, what it costs, how good it is and where it lies."""


@dataclass(frozen=True)
class Budget:
    """What a deployed network may cost; None for as much as it likes.

    Args:
        megabytes: Of its weights, 10^6 bytes each.
        milliseconds: Of its median latency for one image, or for one volume.
    """

    megabytes: Number | None = None
    milliseconds: Number | None = None

    @property
    def asked(self) -> bool:
        """Whether anything is bounded."""
        return self.megabytes is not None or self.milliseconds is not None

    def allows(self, cost: Mapping[str, Number | None], samples: str = "images") -> bool:
        """Whether a network stays within it; one whose cost nobody measured does not."""
        key, unit, *_ = LATENCY[samples]
        size, latency = _scaled(cost.get("bytes"), 1 / MEGABYTE), cost.get(key)
        return _within(size, self.megabytes) and _within(
            _scaled(latency, MILLISECONDS[unit]), self.milliseconds
        )

    def __str__(self) -> str:
        bounds = ((self.megabytes, "MB"), (self.milliseconds, "ms"))
        return " and ".join(f"{bound:g} {unit}" for bound, unit in bounds if bound is not None)


def best_within(account: Account, budget: Budget) -> dict[str, tuple[Standing, Row] | None]:
    """The student of each set that validation finds best among those within the budget."""
    sign, order = -1 if metric(account.metric).lower else 1, list(account.labels)
    chosen: dict[str, tuple[Standing, Row] | None] = {}
    for data in dict.fromkeys(one.data for one in account.whole):
        allowed = [
            (one, row)
            for one in account.whole
            # Rows stand in the order of test, by which equals must not be told apart.
            for row in sorted(one.students, key=lambda row: order.index(row.entry))
            if one.data == data and row.validation is not None
            if budget.allows(row.cost, account.samples)
        ]
        # On validation: a choice by test would make the test too good.
        chosen[data] = max(
            allowed,
            key=lambda pair: round(sign * (pair[1].validation or 0), DIGITS),
            default=None,
        )
    return chosen


def sentences(account: Account, budget: Budget) -> dict[str, str]:
    """The best student of each set within the budget, in words; nothing without a bound."""
    if not budget.asked:
        return {}
    return {
        data: _choice(account, *choice) if choice else "none stays within it."
        for data, choice in best_within(account, budget).items()
    }


def record(account: Account, budget: Budget) -> dict[str, Any]:
    """The same for `comparison.json`: the bounds, and by set what was chosen."""
    best = {
        data: None if choice is None else _recorded(*choice)
        for data, choice in best_within(account, budget).items()
    }
    bounds = {"megabytes": budget.megabytes, "milliseconds": budget.milliseconds}
    return {**bounds, "best": best} if budget.asked else {}


def points(account: Account, data: str, cost: str, scale: float = 1.0) -> list[Point]:
    """Every network that a set was given, in the plane of cost and quality.

    Args:
        account: What the comparison found.
        data: Name of the set.
        cost: A quantity of `cost.json`.
        scale: Of its unit.
    """
    found = list(dict.fromkeys(_points(account, data, cost, scale)))
    lower = metric(account.metric).lower
    return [
        replace(point, front=not any(_beats(o, point, lower) for o in found)) for point in found
    ]


def front(points: Sequence[Point]) -> list[Point]:
    """What nothing beats, from cheap to dear: in this order the figure numbers it."""
    return sorted((point for point in points if point.front), key=lambda point: point.cost)


def front_table(account: Account) -> Table | None:
    """The networks that nothing beats in quality and latency, or in quality and size."""
    rows = [
        [data, cost, point.name, f"{significant(point.cost)} {unit}",
         bare(account.metric, point.value), point.folder or UNDEFINED]
        for data in dict.fromkeys(one.data for one in account.whole)
        for key, cost, unit, scale in axes(account)
        for point in front(points(account, data, key, scale))
    ]  # fmt: skip
    unit = " in %" if metric(account.metric).percent else ""
    words = f"{inside(account.metric)}{unit}"
    caption = (
        "What nothing beats in quality and in cost, from cheap to dear. Of the seeds the folder is "
        "that of the one which validation finds best."
    )
    return (
        Table(["data", "cost", "network", "it takes", words, "folder"], rows, caption)
        if rows
        else None
    )


def axes(account: Account) -> tuple[tuple[str, str, str, float], ...]:
    """Key, words, unit and its scale of what a network costs whoever uses it."""
    key, unit, words, _ = LATENCY[account.samples]
    return ((key, words, unit, 1.0), ("bytes", "weights", "MB", MEGABYTE))


def _points(account: Account, data: str, cost: str, scale: float) -> Iterator[Point]:
    blocks = [one for one in account.whole if one.data == data]
    students = list(dict.fromkeys(one.student for one in account.whole))
    for one in blocks:
        for name, series, costs, metrics, folder in _networks(one, blocks, students):
            price, found = costs.get(cost), metrics.get(account.metric)
            if price is not None and found is not None:
                yield Point(name, price / scale, found.mean, series, False, folder)


def _networks(
    one: Standing, blocks: Sequence[Standing], students: Sequence[str]
) -> Iterator[Network]:
    """Every network of a block, and the frozen teacher under its probe."""
    for row in one.rows:
        series = students.index(one.student) if row.student else len(students)
        yield _whole_name(row, one, blocks), series, row.cost, row.metrics, row.folder
    yield f"probe of {one.teacher}", len(students), one.teacher_cost, one.probe, ""


def _whole_name(row: Row, one: Standing, blocks: Sequence[Standing]) -> str:
    """A network's label, and whatever else tells it from others of that label."""
    # What makes no difference to a run, such as a teacher to the student alone, has equal runs.
    same = [other for other in blocks if (own := other.row(row.entry)) and own.runs == row.runs]
    parts = (
        (lambda block: block.student, "{}"),
        (lambda block: block.teacher, "taught by {}" if row.student else "{}"),
        (start_of, "{}"),
    )
    told = [
        words.format(of(one))
        for of, words in parts
        if len({of(other) for other in blocks}) > 1 and len({of(other) for other in same}) == 1
        if of(one)
    ]
    return ", ".join([row.label, *told])


def _choice(account: Account, one: Standing, row: Row) -> str:
    """The network, what it takes, what it reached and where it lies."""
    key, unit, *_ = LATENCY[account.samples]
    value = in_sentence(account, row.metrics.get(account.metric))
    several = len({other.teacher for other in account.whole}) > 1
    taught = f" taught by {one.teacher}" if several and one.teacher else ""
    return (
        f"{student_of(one)} by {row.label}{taught}, {amount(row.cost.get('bytes'), 'B')}, "
        f"{amount(row.cost.get(key), unit)}; chosen on validation, on test "
        f"{inside(account.metric)} {value}; {row.folder}"
    )


def _recorded(one: Standing, row: Row) -> dict[str, Any]:
    block = {name: getattr(one, name) for name in ("student", "teacher", "start")}
    told = {name: getattr(row, name) for name in ("entry", "label", "folder", "validation")}
    return {**block, **told, "cost": dict(row.cost)}


def _beats(one: Point, other: Point, lower: bool) -> bool:
    """Whether one is as cheap and as good as the other, and better in one of the two."""
    gain = other.value - one.value if lower else one.value - other.value
    gain = 0.0 if equal(one.value, other.value) else gain
    return one.cost <= other.cost and gain >= 0 and (one.cost < other.cost or gain > 0)


def _scaled(value: Number | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _within(value: Number | None, bound: Number | None) -> bool:
    return bound is None or (value is not None and value <= bound)
