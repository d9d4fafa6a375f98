"""One page that shows all of a comparison, and needs nothing beside it."""

from collections.abc import Sequence

from medistill.report.markup import Html, element, folded, together
from medistill.report.page import FOOTER, document
from medistill.report.rivals.account import Account
from medistill.report.rivals.beside import ranking, standing
from medistill.report.rivals.budget import Budget
from medistill.report.rivals.bytask import by_task
from medistill.report.rivals.conclusions import overall
from medistill.report.rivals.costs import training_table
from medistill.report.rivals.sizing import growing, small
from medistill.report.rivals.tables import (
    ablation_table,
    drawn,
    methods_table,
    place,
    teacher_table,
    tuned_table,
    tuning_table,
)
from medistill.report.tables import Table
from medistill.report.wording import counted

OPEN = 4  # blocks that are shown at once; more are folded
TESTED = (
    "Differences are paired: the same test {samples}, seed by seed. Intervals and p-values count "
    "{counted}; p is corrected by Holm's method for all comparisons with one "
    "rival in a block. A difference with p of 0.05 or more is called noise."
)


def page(account: Account, budget: Budget) -> str:
    """The page as one string of HTML."""
    sections = [
        ("Who wins", _standings(account)),
        ("Task by task", by_task(account)),
        ("Across blocks", _across(account)),
        ("What matters in a method", drawn(ablation_table(account))),
        ("Tuned first, then distilled", drawn(tuned_table(account))),
        (f"Few {account.samples}, many {account.samples}", growing(account)),
        ("Small and fast", small(account, budget)),
        ("What training takes", drawn(training_table(account))),
        ("How weights were chosen", drawn(tuning_table(account))),
        ("Record", _record(account)),
    ]
    body = [
        _headline(account),
        *(element("section", element("h2", title), *parts) for title, parts in sections if parts),
        element("footer", element("p", FOOTER)),
    ]
    return document(account.name, body)


def _headline(account: Account) -> Html:
    runs = {name for _, row in account.rows() for name in row.runs}
    counts = ", ".join((
        counted(len(runs), "run"),
        counted(len(account.whole), "block"),
        counted(len(account.seeds), "seed"),
    ))  # fmt: skip
    shared = "; ".join(f"{key} {value}" for key, value in account.settings.items())
    return element(
        "header",
        element("p", "medistill · comparison", class_="kicker"),
        element("h1", account.name),
        *(element("p", sentence, class_="lede") for sentence in overall(account)),
        element("p", f"{counts}. All runs share: {shared}.", class_="quiet"),
        *_missing(account),
    )


def _missing(account: Account) -> list[Html]:
    """What is not here, before anybody looks for it."""
    lists = {"Runs that failed": account.failed, "Left out": account.absent}
    learnt = [element("li", said) for said in account.learnt]
    return [
        *(
            folded(f"{title}: {len(found)}", element("ul", *_items(found)))
            for title, found in lists.items()
            if found
        ),
        *([folded(f"Learnt from before: {len(learnt)}", element("ul", *learnt))] if learnt else []),
    ]


def _items(found: Sequence[tuple[str, str]]) -> list[Html]:
    return [element("li", element("strong", what), f": {why}") for what, why in found]


def _standings(account: Account) -> list[Html]:
    blocks = account.whole
    if len(blocks) > OPEN:
        shown = [folded(place(one), standing(account, one)) for one in blocks]
    else:
        shown = [together([element("h3", place(one)), standing(account, one)]) for one in blocks]
    return [element("p", _tested(account), class_="quiet"), *shown]


def _tested(account: Account) -> str:
    """What was counted as chance: of one seed nobody knows what another would have done."""
    samples, spreads = account.samples, [s for _, r in account.rows() for s in r.metrics.values()]
    if len(account.seeds) == 1:
        counted = f"other {samples} alone: with one seed nobody knows what another changes"
    else:
        counted = f"other {samples} and other seeds"
        if any(spread.seeds == 1 for spread in spreads):
            counted += f" (of a row with one seed other {samples} alone)"
    lacking = any(spread.seeds < len(account.seeds) for spread in spreads)
    said = " Where seeds are missing, differences are over those that both have." if lacking else ""
    return TESTED.format(samples=samples, counted=counted) + said


def _across(account: Account) -> list[Html]:
    """What several blocks say together; nothing where there is but one."""
    if len(account.whole) < 2:
        return []
    ranked = [ranking(found, start, account) for start, found in account.rankings.items()]
    return [*drawn(methods_table(account)), *ranked, *drawn(teacher_table(account))]


def _record(account: Account) -> list[Html]:
    """What each variant changed, which may be more than its name says; the recipe; the runs."""
    variants = Table(["", "changes"], list(account.variants.items()))
    rows = [
        [name, run]
        for name, run in ((row.label, run) for _, row in account.rows() for run in row.runs)
    ]
    return [
        *([folded("Variants", variants.html("facts"))] if account.variants else []),
        folded("Recipe", element("pre", account.recipe.strip(), tabindex=0)),
        folded("Runs", Table(["", "folder, below cells/"], rows).html("facts")),
    ]
