"""The networks that a run is compared with, and whether they differ by more than noise."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from medistill.case_results import CaseResult
from medistill.report.canvas import SERIES
from medistill.report.evidence import Evidence, distinct_names
from medistill.report.wording import spoken
from medistill.results import Estimate, PredictionTable

STUDENT, PROBE, TEACHER = "student", "teacher (probe)", "teacher"
FIRST_OTHER = 2  # series of the first other run, after student and probe


@dataclass(frozen=True)
class Contender:
    """A network that was judged on a task.

    Args:
        name: As tables call it.
        note: What it is, in a word or two.
        series: Its number, and so its colour.
        estimates: Its metrics.
    """

    name: str
    note: str
    series: int
    estimates: Mapping[str, Estimate]

    @property
    def colour(self) -> str:
        """Classes of its name on the page: the colour that figures give it."""
        return f"who series-{self.series % len(SERIES)}"


@dataclass(frozen=True)
class Shared:
    """How many samples of a task two runs have in common.

    Args:
        both: Samples that both were judged on.
        own: Samples of this run.
        theirs: Samples of the other.
    """

    both: int
    own: int
    theirs: int

    @property
    def same(self) -> bool:
        """Whether the two were judged on the very same samples."""
        return self.both == self.own == self.theirs


def contenders(
    evidence: Evidence, others: Sequence[Evidence], task: str, split: str | None = None
) -> list[Contender]:
    """Student, teacher's probe and other runs on a task, as far as they were judged on it."""
    split = split or evidence.split
    teacher = evidence.teacher_metrics.get(split, {}).get(task, {})
    every = [
        Contender(STUDENT, method_of(evidence), 0, evidence.estimates(task, split)),
        Contender(name_of_teacher(teacher), "", 1, teacher),
        *(
            Contender(name, method_of(other), number, other.estimates(task, split))
            for number, (name, other) in enumerate(
                zip(distinct_names([evidence, *others])[1:], others, strict=True), start=FIRST_OTHER
            )
        ),
    ]
    return [one for one in every if one.estimates]


def name_of_teacher(estimates: Mapping[str, Estimate]) -> str:
    """What tables call the teacher: one that outlines answers for itself, without a probe."""
    return TEACHER if "dice" in estimates else PROBE


def method_of(evidence: Evidence) -> str:
    """A run's method in words; empty where the recipe is not there."""
    return spoken(evidence.part("method").get("name", ""))


def shared_samples(own: PredictionTable, theirs: PredictionTable) -> Shared:
    """Compare two tables by the pixels and the classes of their samples."""
    return _shared(_keys(own), _keys(theirs))


def shared_cases(own: Sequence[CaseResult], theirs: Sequence[CaseResult]) -> Shared:
    """Compare the volumes, and the classes asked of them, of two segmentations."""
    keys = ([(case.sample, *sorted(case.scores)) for case in cases] for cases in (own, theirs))
    return _shared(*keys)


def _shared(own: Sequence[Hashable], theirs: Sequence[Hashable]) -> Shared:
    # Digests may repeat: identical images stand in a split as often as they were listed.
    first, second = Counter(own), Counter(theirs)
    return Shared((first & second).total(), first.total(), second.total())


def distinguishable(difference: Mapping[str, float | None]) -> bool | None:
    """Whether the 95 % interval of a difference leaves zero out; None without an interval."""
    low, high = difference.get("low"), difference.get("high")
    return None if low is None or high is None else low > 0 or high < 0


def _keys(table: PredictionTable) -> list[tuple[str, str]]:
    names = [table.classes[target] for target in table.targets.tolist()]
    return list(zip(table.samples, names, strict=True))
