"""Which network is worth its cost: the front of quality and cost, and the best within a budget."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from medistill.report.rivals.account import Account, Row, Standing
from medistill.report.rivals.figures import Point
from medistill.report.wording import Number, metric
from medistill.spreads import Spread

MEGABYTE = 1e6

Network = tuple[str, int, Mapping[str, Number | None], Mapping[str, Spread]]
"""Its name, the number of its kind, what it costs and how good it is."""


@dataclass(frozen=True)
class Budget:
    """What a deployed network may cost; None for as much as it likes.

    Args:
        megabytes: Of its weights, 10^6 bytes each.
        milliseconds: Of its median latency for one image.
    """

    megabytes: Number | None = None
    milliseconds: Number | None = None

    @property
    def asked(self) -> bool:
        """Whether anything is bounded."""
        return self.megabytes is not None or self.milliseconds is not None

    def allows(self, cost: Mapping[str, Number | None]) -> bool:
        """Whether a network stays within it; one whose cost nobody measured does not."""
        size, latency = cost.get("bytes"), cost.get("latency_ms_p50")
        return _within(_scaled(size), self.megabytes) and _within(latency, self.milliseconds)

    def __str__(self) -> str:
        bounds = ((self.megabytes, "MB"), (self.milliseconds, "ms"))
        return " and ".join(f"{bound:g} {unit}" for bound, unit in bounds if bound is not None)


def best_within(account: Account, budget: Budget) -> dict[str, tuple[Standing, Row] | None]:
    """The network of each set that validation finds best among those within the budget."""
    sign = -1 if metric(account.metric).lower else 1
    chosen: dict[str, tuple[Standing, Row] | None] = {}
    for data in dict.fromkeys(one.data for one in account.whole):
        allowed = [
            (one, row)
            for one in account.whole
            for row in one.rows
            if one.data == data and row.validation is not None and budget.allows(row.cost)
        ]
        # On validation: a choice by test would make the test too good.
        chosen[data] = max(allowed, key=lambda pair: sign * (pair[1].validation or 0), default=None)
    return chosen


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


def _points(account: Account, data: str, cost: str, scale: float) -> Iterator[Point]:
    students = list(dict.fromkeys(one.student for one in account.whole))
    for one in (one for one in account.whole if one.data == data):
        for name, series, costs, metrics in _networks(one, students):
            price, found = costs.get(cost), metrics.get(account.metric)
            if price is not None and found is not None:
                yield Point(name, price / scale, found.mean, series, False)


def _networks(one: Standing, students: Sequence[str]) -> Iterator[Network]:
    """Every network of a block, and the frozen teacher under its probe."""
    for row in one.rows:
        series = students.index(one.student) if row.student else len(students)
        which = f", {one.student}" if row.student and len(students) > 1 else ""
        yield f"{row.label}{which}", series, row.cost, row.metrics
    yield f"probe of {one.teacher}", len(students), one.teacher_cost, one.probe


def _beats(one: Point, other: Point, lower: bool) -> bool:
    """Whether one is as cheap and as good as the other, and better in one of the two."""
    gain = other.value - one.value if lower else one.value - other.value
    return one.cost <= other.cost and gain >= 0 and (one.cost < other.cost or gain > 0)


def _scaled(size: Number | None) -> float | None:
    return None if size is None else size / MEGABYTE


def _within(value: Number | None, bound: Number | None) -> bool:
    return bound is None or (value is not None and value <= bound)
