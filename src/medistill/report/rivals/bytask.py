"""Several tasks side by side: each method by task, by region and on their mean, as LoRKD has it."""

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from medistill.report.markup import Html, element, folded, number, together
from medistill.report.rivals.account import Account, Against, Reached, Row, Standing
from medistill.report.rivals.conclusions import chance, difference, verdict
from medistill.report.rivals.tables import DAGGER, Best, drawn, equal, held, place, reached, told
from medistill.report.tables import Table
from medistill.report.wording import UNDEFINED, Number, amount, counted, inside, metric
from medistill.spreads import Spread

MEAN = "mean"
TESTED = (
    "Of each task, and of their unweighted mean, in which every task counts alike. The mean is "
    "tested by drawing each task's {samples} anew, apart from those of the others; p is corrected "
    "for all methods on the mean, and for all methods and tasks together by task."
)


def task_tables(account: Account) -> dict[str, Table]:
    """Every table of several tasks, under a name of its own."""
    tables = ((_named(one), task_table(account, one)) for one in several(account))
    found: dict[str, Table] = {}
    for name, table in tables:
        number = sum(known.rpartition("-")[0] == name or known == name for known in found)
        found[f"{name}-{number + 1}" if number else name] = table
    return found


def several(account: Account) -> list[Standing]:
    """Sets that students were brought to together, then blocks of several tasks."""
    return [*account.transfers, *(one for one in account.standings if one.tasks)]


def task_table(account: Account, one: Standing) -> Table:
    """Methods by tasks, with the parameters of all their networks and the mean over the tasks.

    The shape of Tables IV (decomposition) and V (transfer) of the LoRKD paper.
    """
    tops = {task: _top(account, one, task) for task in (*one.tasks, MEAN)}
    foundation, whole = _foundation(account, one), _whole(one)
    rows = foundation + [
        [row.label, held(row), *([_compression(row, whole)] if whole else []),
         *(_cell(account, row, task, tops[task]) for task in (*one.tasks, MEAN))]
        for row in _ordered(account, one)
    ]  # fmt: skip
    unit = " in %" if metric(account.metric).percent else ""
    spread = "mean ± deviation of " if len(account.seeds) > 1 else ""
    caption = (
        f"{place(one)}: {inside(account.metric)}{unit} on test, "
        f"{spread}{counted(len(account.seeds), 'seed')}. {_legend(one, foundation)}"
    )
    sizes = ["parameters", *(["compression"] if whole else [])]
    return Table(["", *sizes, *one.tasks, MEAN], rows, caption)


def _legend(one: Standing, foundation: Sequence[list[str]]) -> str:
    """What the table's parameters, its first rows and its dagger mean."""
    if one.transfer:
        told = "Parameters are those of the network that starts"
        told += "; compression is their share of the foundation model's." if _whole(one) else "."
    else:
        of_teacher = "; the teacher's are without heads" if foundation else ""
        told = "Parameters are those of all networks, heads included, what they share counted once"
        told += f"{of_teacher}."
    if len(foundation) > 1:
        told += " The teacher is judged twice: by a task's own classes, and by those of all."
    if any(found.shared for row in one.rows for found in row.by_task.values()):
        told += f" {DAGGER}: from the backbone that all experts share, for none is of this region."
    return told


def _whole(one: Standing) -> Number | None:
    """Parameters of the foundation model that starts as others do; None where none does."""
    known = [row.cost.get("parameters") for row in one.rows if not row.student]
    return max(filter(None, known), default=None) if one.transfer else None


def _compression(row: Row, whole: Number) -> str:
    """What is left of the foundation model, as in Table V of the LoRKD paper."""
    own = row.cost.get("parameters")
    return f"{100 * own / whole:.3g} %" if own else UNDEFINED


def _foundation(account: Account, one: Standing) -> list[list[str]]:
    """The foundation model that teaches, where it judges the tasks itself; as LoRKD's paper too."""
    if not one.probe_by_task:
        return []
    # It may have been judged on other tasks as well, and on those of a region not at all.
    own = [one.probe_by_task.get(task, {}).get(account.metric) for task in one.tasks]
    rows = {"the teacher": [*own, one.probe.get(account.metric)]}
    among_all = {task: found.get(account.metric) for task, found in one.unified.items()}
    if any(among_all.values()):
        found = [among_all.get(task) for task in one.tasks]
        rows["its one head"] = [*found, _mean_of([*among_all.values()])]
    size = amount(one.teacher_cost.get("parameters"))
    return [
        [f"{one.teacher}, {what}", size, *(told(account.metric, s) for s in spreads)]
        for what, spreads in rows.items()
    ]


def _mean_of(spreads: Sequence[Spread | None]) -> Spread | None:
    """Over tasks, where all are known."""
    known = [spread.mean for spread in spreads if spread]
    return Spread(fmean(known), None, None, None, 1) if len(known) == len(spreads) else None


def by_task(account: Account) -> list[Html]:
    """The tables of the page, with the differences of each task below."""
    parts = [part for one in several(account) for part in _standing(account, one)]
    said = TESTED.format(samples=account.samples)
    return [element("p", said, class_="quiet"), *parts] if parts else []


def _standing(account: Account, one: Standing) -> Iterator[Html]:
    yield element("h3", place(one))
    yield from drawn(task_table(account, one))
    for rival, of in account.rivals(one).items():
        table = _differences(account, one, of)
        if table.rows:
            yield folded(f"Differences to {rival}, by task", table.html("figured"))


def _differences(
    account: Account, one: Standing, of: Callable[[Row | Reached], Against | None]
) -> Table:
    columns = (*one.tasks, MEAN)
    rows = [
        [row.label, *(_against(account.metric, _part(row, task), of) for task in columns)]
        for row in _ordered(account, one)
        if any((found := _part(row, task)) and of(found) for task in columns)
    ]
    return Table(["", *columns], rows)


def _against(
    name: str, found: Row | Reached | None, of: Callable[[Row | Reached], Against | None]
) -> Html:
    against = of(found) if found else None
    if against is None:
        return number(UNDEFINED)
    said = f"{verdict(name, against)}, p {chance(against)}"
    return together([number(difference(name, against)), element("small", said)], " ")


def _part(row: Row, task: str) -> Row | Reached | None:
    return row if task == MEAN else row.by_task.get(task)


def _spread(account: Account, row: Row, task: str) -> Spread | None:
    found = _part(row, task)
    return found.metrics.get(account.metric) if found else None


def _cell(account: Account, row: Row, task: str, top: float | None) -> str:
    found, spread = _part(row, task), _spread(account, row, task)
    text = reached(account, spread)
    if isinstance(found, Reached) and found.shared:
        text += DAGGER
    leads = spread and row.student and top is not None and equal(spread.mean, top)
    return Best(text) if leads else text


def _top(account: Account, one: Standing, task: str) -> float | None:
    """The best mean of a task among what competes."""
    means = [s.mean for row in one.students if (s := _spread(account, row, task))]
    return (min if metric(account.metric).lower else max)(means, default=None)


def _ordered(account: Account, one: Standing) -> Sequence[Row]:
    """Foundation models first, then as the recipe names them."""
    order = list(account.labels)
    return sorted(one.rows, key=lambda row: (row.student, order.index(row.entry)))


def _named(one: Standing) -> str:
    return "transfer" if one.transfer else "tasks"
