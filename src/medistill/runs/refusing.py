"""What several verbs refuse before they begin."""

from collections.abc import Iterable, Sequence

from medistill.errors import UserError
from medistill.results import RunFolder


def refuse_unfinished(runs: Iterable[RunFolder]) -> None:
    """Refuse runs of which one has not ended."""
    for run in runs:
        if not run.finished:
            raise UserError(f"{run.path} is no finished run; `medistill train` finishes it.")


def refuse_unknown_classes(named: Iterable[str], classes: Sequence[str]) -> None:
    """Refuse a translation of classes that names one which the run does not have."""
    unknown = [name for name in named if name not in classes]
    if unknown:
        raise UserError(
            f"--classes: the run has no class {unknown[0]!r}; it has {', '.join(classes)}."
        )
