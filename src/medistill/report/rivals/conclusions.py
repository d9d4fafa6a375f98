"""What a comparison means, in sentences: who leads, and what of it is noise."""

from collections.abc import Sequence
from itertools import chain

from medistill.report.rivals.account import Account, Against, Row, Standing
from medistill.report.rivals.tables import equal, in_sentence, place
from medistill.report.wording import (
    UNDEFINED,
    chance_is,
    counted,
    difference_interval,
    difference_of,
    listed,
    metric,
    probability_of_chance,
)

NOISE, UNJUDGED = "noise", "not judged"
FEW = 4  # blocks whose outcome is told one by one


def verdict(name: str, against: Against | None) -> str:
    """What a difference is: better, worse, noise."""
    if against is None:
        return UNDEFINED
    if against.noise is None:
        return UNJUDGED
    if against.noise:
        return NOISE
    return "better" if (against.value > 0) != metric(name).lower else "worse"


def difference(name: str, against: Against | None) -> str:
    """A difference with its interval: +1.8 (−2.2 to 5.8)."""
    if against is None:
        return UNDEFINED
    value = difference_of(name, against.value).removesuffix(" points")
    if against.low is None:
        return value
    return f"{value} ({difference_interval(name, against.low, against.high)})"


def chance(against: Against | None) -> str:
    """The corrected p-value."""
    return UNDEFINED if against is None else probability_of_chance(against.corrected)


def leading(account: Account, standing: Standing) -> list[str]:
    """Who leads in a block, over whom certainly, and what it means against the student alone."""
    rivals = [row for row in standing.students if account.metric in row.metrics]
    if not rivals:
        return []
    best, *others = rivals
    lead = f"{best.label} leads with {in_sentence(account, best.metrics[account.metric])}"
    return [f"On {place(standing)} {lead}{_lead(account, others)}.", *_gain(account, best)]


def overall(account: Account) -> list[str]:
    """The outcome of many blocks: how often each entry leads, and beats the student alone."""
    blocks = [one for one in account.whole if one.students]
    first = list(chain(*(leading(account, one) for one in account.transfers)))
    if len(blocks) <= FEW:
        return first + list(chain(*(leading(account, one) for one in blocks)))
    leads = [label for one in blocks for label in _leaders(account, one)]
    counts = sorted({(leads.count(label), label) for label in leads}, reverse=True)
    told_leads = listed([f"{label} in {count}" for count, label in counts])
    return [*first,
            f"The highest mean is that of {told_leads} of {counted(len(blocks), 'block')}.",
            *_certain(account, blocks)]  # fmt: skip


def _leaders(account: Account, one: Standing) -> list[str]:
    """Who leads in a block: equals lead together."""
    means = {
        r.label: r.metrics[account.metric] for r in one.students if account.metric in r.metrics
    }
    first = one.students[0].label
    alike = [
        label
        for label, found in means.items()
        if found.seeds == means[first].seeds and equal(found.mean, means[first].mean)
    ]  # fmt: skip
    return alike or [first]


def _lead(account: Account, others: Sequence[Row]) -> str:
    """The leader's differences, seen from the others."""
    beaten = [r.label for r in others if verdict(account.metric, r.best) == "worse"]
    level = [r.label for r in others if r.best and r.best.noise]
    parts = [f"ahead of {listed(beaten)}"] if beaten else []
    parts += [f"its lead over {listed(level)} is noise"] if level else []
    return f": {'; '.join(parts)}" if parts else ""


def _gain(account: Account, best: Row) -> list[str]:
    if best.entry == account.reference:
        return [f"No method has a higher mean than {account.rival}."]
    if best.alone is None or best.alone.noise is None:
        return []
    gain, p = difference_of(account.metric, best.alone.value), best.alone.corrected
    what = "is noise" if best.alone.noise else "is more than noise"
    return [f"Against {account.rival} it has {gain}, which {what} ({chance_is(p)})."]


def _certain(account: Account, blocks: Sequence[Standing]) -> list[str]:
    """In how many blocks each entry certainly beats the student alone, or falls behind it."""
    better, worse = {}, {}
    for label in account.labels.values():
        rows = [row for one in blocks for row in one.students if row.label == label]
        said = [verdict(account.metric, row.alone) for row in rows]
        better[label], worse[label] = said.count("better"), said.count("worse")
    told_better = [f"{label} in {n}" for label, n in better.items() if n]
    told_worse = [f"{label} in {n}" for label, n in worse.items() if n]
    lines = [
        f"Certainly better than {account.rival}: {listed(told_better)}."
        if told_better
        else f"No method is certainly better than {account.rival} in any block."
    ]
    return lines + ([f"Certainly worse: {listed(told_worse)}."] if told_worse else [])
