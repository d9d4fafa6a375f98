"""Whose networks had a part in a run, what of them its exported files hold, and on which terms."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Facts = Mapping[str, Any]
RANDOM = "random"
NON_COMMERCIAL = ("-nc", "noncommercial", "non-commercial")


@dataclass(frozen=True)
class Origin:
    """A network that there was before a run.

    Args:
        name: Without the folders of the machine that it came from.
        licences: Of its weights, and of those that they came from in turn.
        random: Whether it never learned anything.
        deployed: Whether the exported file holds its weights.
        tuned: Whether training changed these.
    """

    name: str
    licences: tuple[str, ...]
    random: bool = False
    deployed: bool = False
    tuned: bool = True

    @property
    def terms(self) -> str:
        """Its licences in words, and whether they forbid what many would do."""
        if len(self.licences) > 1:
            told = "\n".join(["Licences of its weights and of those they came from:\n",
                              *(f"- {licence}" for licence in self.licences)])  # fmt: skip
        else:
            stated = "".join(self.licences) or "not stated; ask before you share this"
            told = f"Licence of its weights: {stated}."
        heir = "this file" if self.deployed else "this student"
        inherits = f"**Its terms forbid commercial use, and {heir} inherits them.**"
        return f"{told}\n\n{inherits}" if forbid_commerce(self.licences) else told


def teacher_of(facts: Facts) -> Origin | None:
    """The network that taught, or whose own encoder is deployed; None where none was asked.

    A recipe may name a teacher that its method leaves aside: the environment knows.
    """
    part, environment = _part(facts, "teacher"), facts.get("environment", {})
    known = environment.get("teacher", part)
    if not known:
        return None
    # What a method without a student deploys can only be its teacher.
    deployed = "student" in environment and environment["student"] is None
    return Origin(
        source(known.get("name") or part.get("name", "")),
        _licences(facts, known, part),
        random=known.get("random", part.get("weights") == RANDOM),
        deployed=deployed,
        tuned=not deployed,
    )


def start_of(facts: Facts) -> Origin | None:
    """The network whose weights the student began with; None where those were random."""
    part = student_of(facts)
    run = part.get("start") or (part["name"] if "run:" in part.get("name", "") else None)
    if not run and part.get("weights") in (None, RANDOM):
        return None
    known = facts.get("environment", {}).get("student") or {}
    return Origin(source(run or part["name"]), _licences(facts, known, part), deployed=True)


def student_of(facts: Facts) -> dict[str, Any]:
    """The recipe's student; empty where the method left it aside."""
    left_aside = facts.get("environment", {}).get("student", True) is None
    return {} if left_aside else _part(facts, "student")


def licences_of(facts: Facts) -> list[str]:
    """Of all that had a part."""
    origins = filter(None, (teacher_of(facts), start_of(facts)))
    own = [licence for origin in origins for licence in origin.licences]
    return list(dict.fromkeys([*own, *_deployed(facts)]))


def forbid_commerce(licences: Iterable[str]) -> bool:
    """Whether one of some licences is known to."""
    return any(word in " ".join(licences).lower() for word in NON_COMMERCIAL)


def source(name: str) -> str:
    """A network's name in a recipe, without the folders of the machine that it came from."""
    kind, colon, path = name.partition(":")
    return f"{kind}:{Path(path).name}" if colon else name


def _licences(facts: Facts, known: Mapping[str, Any], part: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that the run noted of a network; older runs did not tell whose theirs were."""
    noted = known.get("licences")
    if noted is None:
        noted = [known.get("licence"), part.get("licence"), *_deployed(facts)]
    return tuple(dict.fromkeys(filter(None, noted)))


def _deployed(facts: Facts) -> list[str]:
    """What stands in the configs of deployed networks."""
    configs = facts.get("tasks", {}).values()
    return [licence for config in configs for licence in config.get("licences", ())]


def _part(facts: Facts, name: str) -> dict[str, Any]:
    return dict(facts.get("recipe", {}).get(name) or {})
