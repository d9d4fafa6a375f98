"""All that competed in one block side by side, and their ranks over all blocks."""

from collections.abc import Sequence
from dataclasses import replace

from medistill.report.markup import Html, element, figure, number, together
from medistill.report.rivals import figures
from medistill.report.rivals.account import Account, Against, Ranking, Row, Standing
from medistill.report.rivals.conclusions import chance, difference, verdict
from medistill.report.rivals.tables import fewer, told
from medistill.report.tables import Table
from medistill.report.wording import (
    UNDEFINED,
    chance_is,
    interval_of,
    listed,
    metric,
    spoken,
)
from medistill.results import Estimate
from medistill.spreads import Spread

OTHERS = {
    "images": ("balanced_accuracy", "auroc", "expected_calibration_error"),
    "volumes": ("dice", "surface_dice", "hd95_mm"),
}


def standing(account: Account, one: Standing) -> Html:
    """A block's figure and its table: who is ahead of whom, and whether that is noise."""
    counts = ", ".join(f"{count:,} {spoken(split)}" for split, count in one.images.items())
    caption = (
        "A dot is the mean over the seeds, the thin line its 95 % interval, the thick one the "
        f"deviation of the seeds. {account.samples.capitalize()}: {counts}."
    )
    picture = figure(figures.forest(one, account.metric, account.reference), caption)
    return element("div", element("div", picture), _table(account, one).html("results"))


def ranking(found: Ranking, start: str, account: Account) -> Html:
    """Average ranks over blocks; with few of them no difference is spoken of."""
    said = [
        f"Average ranks over {found.blocks} blocks, {start}; 1 is best. Friedman's test that all "
        f"are alike: {chance_is(found.p)}.",
    ]
    if found.difference is None:
        said.append("With fewer than 5 blocks no ranks are told apart.")
    else:
        said.append("What a bar joins is not told apart (Nemenyi, 5 %).")
    if found.missing:
        said.append(f"Not run in every block: {listed(list(found.missing))}.")
    return figure(figures.ranks(found), " ".join(said))


def _table(account: Account, one: Standing) -> Table:
    others = [key for key in OTHERS[account.samples] if key != account.metric]
    rivals = account.rivals(one)
    head = [
        "",
        metric(account.metric).words,
        *(f"against {rival}" for rival in rivals),
        *(metric(key).words for key in others),
    ]
    rows = [
        [
            _named(row),
            _mean(account, row.metrics.get(account.metric)),
            *(_against(account.metric, of(row)) for of in rivals.values()),
            *(number(told(key, row.metrics.get(key))) for key in others),
        ]
        for row in one.rows
    ]
    return Table(head, [*rows, *_probe(account, one, others, len(rivals))])


def _probe(account: Account, one: Standing, others: Sequence[str], rivals: int) -> list[list[str]]:
    if account.metric not in one.probe:
        return []
    # A frozen teacher has no seeds.
    mean = _mean(replace(account, seeds=()), one.probe[account.metric])
    return [
        [
            "teacher (probe)",
            mean,
            *[UNDEFINED] * rivals,
            *(told(key, one.probe.get(key)) for key in others),
        ]
    ]


def _named(row: Row) -> str:
    if row.student:
        return row.label
    return together([row.label, element("small", "the foundation model itself")], " ")


def _mean(account: Account, found: Spread | None) -> Html:
    name = account.metric
    if found is None:
        return number(UNDEFINED)
    interval = interval_of(name, Estimate(value=found.mean, low=found.low, high=found.high))
    value = element("span", told(name, found), class_="value")
    notes = filter(None, (interval, fewer(account, found).strip()))
    return together([value, *(element("small", note) for note in notes)], " ")


def _against(name: str, against: Against | None) -> Html:
    if against is None:
        return number(UNDEFINED)
    said = f"{verdict(name, against)}, p {chance(against)}"
    return together([number(difference(name, against)), element("small", said)], " ")
