"""What every run writes at its beginning and at its end, on images or on volumes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from medistill.data.findings import Finding
from medistill.export.card import write_card
from medistill.recipe import Recipe, dump
from medistill.report.averages import lines
from medistill.report.evidence import Evidence
from medistill.report.page import write_page
from medistill.results import RunFolder, read_json, write_json, write_text
from medistill.runs.ancestry import Source, save_sources
from medistill.runs.console import Console
from medistill.runs.environment import environment


class Divided(Source, Protocol):
    """A root that is divided into splits."""

    def save_splits(self, path: Path) -> None:
        """Write which sample stands in which split."""


def record(
    recipe: Recipe,
    run: RunFolder,
    opened: Sequence[Divided],
    *,
    described: Mapping[str, Any],
    made_of: Mapping[str, Any],
) -> None:
    """Write what is known before the training; the recipe last, for it makes a folder a run.

    Args:
        recipe: What was asked for.
        run: Made if need be.
        opened: The roots.
        described: What a report says of each, by its name; never a file.
        made_of: Hashes of the data, the teacher that is asked, and hashes of the first weights.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    save_sources(opened, run)
    for one in opened:
        one.save_splits(run.splits)
    write_json(run.data, described)
    write_json(run.environment, {**environment(), **made_of})
    write_text(run.recipe, dump(recipe))


def told_findings(findings: Iterable[Finding], warnings: Iterable[str]) -> list[dict[str, str]]:
    """Findings of a root as a report has them, and images that other runs learnt from."""
    found = [{"severity": f.severity, "kind": f.kind, "message": f.message} for f in findings]
    return found + [{"severity": "warning", "kind": "shared", "message": w} for w in warnings]


def conclude(run: RunFolder, console: Console, *, seconds: float) -> None:
    """Describe a run that is judged and shipped, and mark it as finished.

    Args:
        run: With its metrics and its deployed networks.
        console: Where the results are said.
        seconds: That all attempts took.
    """
    facts = read_json(run.environment)
    write_json(run.environment, {**facts, "seconds": round(seconds, 1)})
    write_card(run)
    page = write_page(run)
    run.finish()
    for line in lines(Evidence(run)):
        console.say(line)
    console.say(f"report: {page}")
