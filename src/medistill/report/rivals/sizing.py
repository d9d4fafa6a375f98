"""What is reached with few images, and with little memory and time."""

from collections.abc import Sequence

from medistill.report.markup import Html, element, figure, folded
from medistill.report.rivals import figures
from medistill.report.rivals.account import Account, Standing
from medistill.report.rivals.budget import (
    Budget,
    axes,
    front,
    front_table,
    points,
    sentences,
)
from medistill.report.rivals.costs import cost_table
from medistill.report.rivals.tables import drawn, found, labels_of, size_table, student_of
from medistill.spreads import Spread

COLOURED = 3  # best students whose curves stand out


def growing(account: Account) -> list[Html]:
    """The metric by the number of training images; nothing where all runs had the same."""
    if len({one.fraction for one in account.standings}) < 2:
        return []
    pictures = [figure(_curves(account, group), _title(group[0])) for group in _groups(account)]
    return [element("div", *pictures, class_="figures wide"), *drawn(size_table(account))]


def small(account: Account, budget: Budget) -> list[Html]:
    """Quality against latency and size, and the best network within a budget."""
    sets = dict.fromkeys(one.data for one in account.whole)
    pictures = [picture for data in sets for picture in _planes(account, data)]
    told_front = (
        "Joined and numbered: the networks that nothing beats in both. Foundation models stand "
        "among them as they are, by their probe or tuned."
    )
    shown = [
        element("p", told_front, class_="quiet"),
        element("div", *pictures, class_="figures"),
        folded("Where these networks lie", *drawn(front_table(account))),
    ]
    return [
        *within(account, budget),
        *(shown if pictures else []),
        *drawn(cost_table(account)),
    ]


def within(account: Account, budget: Budget) -> list[Html]:
    """The best student of each set within the budget, in a sentence; nothing without one."""
    items = [
        element("li", element("strong", data), f": {said}")
        for data, said in sentences(account, budget).items()
    ]
    return [element("p", f"The best within {budget}:"), element("ul", *items)] if items else []


def _planes(account: Account, data: str) -> list[Html]:
    """Quality against each cost, where networks differ in it."""
    found = [
        (points(account, data, key, scale), cost, unit) for key, cost, unit, scale in axes(account)
    ]
    return [
        figure(
            figures.plane(shown, account.metric, cost, unit),
            f"{data}, by {cost}. {_numbered(shown)}.",
        )
        for shown, cost, unit in found
        if len({point.cost for point in shown}) > 1
    ]


def _numbered(shown: Sequence[figures.Point]) -> str:
    """The names of the front, as the figure numbers them."""
    return "; ".join(f"{place}: {one.name}" for place, one in enumerate(front(shown), 1))


def _groups(account: Account) -> list[list[Standing]]:
    """Blocks that differ in the number of training images alone."""
    groups: dict[tuple[str, str | None, str], list[Standing]] = {}
    for one in account.standings:
        groups.setdefault((one.data, one.teacher, student_of(one)), []).append(one)
    return [group for group in groups.values() if len(group) > 1]


def _curves(account: Account, group: list[Standing]) -> Html:
    lines: dict[str, list[tuple[int, Spread]]] = {}
    for one in sorted(group, key=lambda one: one.fraction):
        for label in labels_of(account):
            spread = found(account, one, label)
            if spread is not None:
                lines.setdefault(label, []).append((one.images.get("train", 0), spread))
    shown = _coloured(account, group)
    return figures.sizes(lines, account.metric, _title(group[0]), account.samples, shown)


def _coloured(account: Account, group: Sequence[Standing]) -> list[str]:
    """The own method, the student alone, and the best with the most images."""
    most = max(group, key=lambda one: one.fraction)
    known = [row.label for row in most.students if account.metric in row.metrics]
    always = [account.labels[name] for name in (account.own, account.reference)]
    best = [label for label in known if label not in always][:COLOURED]
    return [*always, *best]


def _title(one: Standing) -> str:
    teacher = f"{one.teacher} to " if one.teacher else ""
    return f"{one.data} · {teacher}{student_of(one)}"
