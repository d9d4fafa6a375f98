"""What is reached with few images, and with little memory and time."""

from medistill.report.markup import Html, element, figure
from medistill.report.rivals import figures
from medistill.report.rivals.account import Account, Row, Standing
from medistill.report.rivals.budget import MEGABYTE, Budget, best_within, points
from medistill.report.rivals.costs import cost_table
from medistill.report.rivals.tables import drawn, found, labels_of, size_table, student_of, told
from medistill.report.wording import amount, inside, metric
from medistill.spreads import Spread

AXES = (("latency_ms_p50", "latency an image", "ms", 1.0), ("bytes", "weights", "MB", MEGABYTE))


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
        "Joined: the networks that nothing beats in both. Foundation models stand among them as "
        "they are, by their probe or tuned."
    )
    shown = [
        element("p", told_front, class_="quiet"),
        element("div", *pictures, class_="figures"),
    ]
    return [
        *within(account, budget),
        *(shown if pictures else []),
        *drawn(cost_table(account)),
    ]


def within(account: Account, budget: Budget) -> list[Html]:
    """The best network of each set within the budget, in a sentence; nothing without one."""
    if not budget.asked:
        return []
    items = []
    for data, choice in best_within(account, budget).items():
        said = f": no network stays within {budget}."
        if choice is not None:
            said = _choice(account, *choice)
        items.append(element("li", element("strong", data), said))
    return [element("p", f"The best within {budget}:"), element("ul", *items)]


def _choice(account: Account, one: Standing, row: Row) -> str:
    size, latency = (row.cost.get(key) for key in ("bytes", "latency_ms_p50"))
    unit = " %" if metric(account.metric).percent else ""
    reached = f"{told(account.metric, row.metrics.get(account.metric))}{unit}"
    return (
        f": {student_of(one) if row.student else one.teacher} by {row.label}, "
        f"{amount(size, 'B')}, {amount(latency, 'ms')}; chosen on validation, on test "
        f"{inside(account.metric)} {reached}."
    )


def _planes(account: Account, data: str) -> list[Html]:
    """Quality against each cost, where networks differ in it."""
    found = [(points(account, data, key, scale), cost, unit) for key, cost, unit, scale in AXES]
    return [
        figure(figures.plane(shown, account.metric, cost, unit), f"{data}, by {cost}.")
        for shown, cost, unit in found
        if len({point.cost for point in shown}) > 1
    ]


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
    return figures.sizes(lines, account.metric, _title(group[0]), account.samples)


def _title(one: Standing) -> str:
    teacher = f"{one.teacher} to " if one.teacher else ""
    return f"{one.data} · {teacher}{student_of(one)}"
