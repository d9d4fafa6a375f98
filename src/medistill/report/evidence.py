"""What a run folder tells, read when it is asked for; what is missing is empty."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from medistill.case_results import CaseResult, read_cases
from medistill.errors import UserError
from medistill.results import (
    Estimate,
    Metrics,
    PredictionTable,
    RunFolder,
    read_json,
    read_jsonl,
    read_predictions,
)

Document = dict[str, Any]
FILES: Final = {
    "recipe.yaml": "the recipe",
    "environment.json": "the environment",
    "log.jsonl": "the log of training",
    "data.json": "the account of the data",
    "metrics.json": "the metrics",
    "predictions.csv": "the predictions",
    "cost.json": "the cost",
    "parity.json": "the check of the exported file",
    "worst/index.json": "the worst mistakes",
}
# What a segmentation writes in their stead.
OF_VOLUMES: Final = {
    "predictions.csv": ("cases.csv", "the scores of the cases"),
    "worst/index.json": ("slices/index.json", "the slices"),
}


@dataclass(frozen=True)
class Evidence:
    """The files of one run as the report reads them.

    Args:
        run: Its folder.
        analysed: Where an analysis of it lies, if not in that folder.
    """

    run: RunFolder
    analysed: Path | None = None

    @property
    def name(self) -> str:
        """Name of the run: that of its folder."""
        return self.run.path.resolve().name

    @cached_property
    def recipe_text(self) -> str:
        """The resolved recipe as it was saved."""
        path = self.run.recipe
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    @cached_property
    def recipe(self) -> Document:
        """The resolved recipe."""
        try:
            return dict(yaml.safe_load(self.recipe_text) or {})
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise _broken(self.run.recipe, error) from None

    @cached_property
    def environment(self) -> Document:
        """Versions, hardware, hashes."""
        return _mapping(self.run.environment)

    @cached_property
    def log(self) -> list[Document]:
        """One record an epoch."""
        return [record for record in read_jsonl(self.run.log) if "epoch" in record]

    @cached_property
    def data(self) -> dict[str, Document]:
        """Classes, counts and findings by task."""
        return _mapping(self.run.data)

    @cached_property
    def metrics(self) -> Metrics:
        """Of the deployed student."""
        return _mapping(self.run.metrics)

    @cached_property
    def teacher_metrics(self) -> Metrics:
        """Of the teacher's linear probe."""
        return _mapping(self.run.teacher_metrics)

    @cached_property
    def cost(self) -> dict[str, Document | None]:
        """Of student and teacher, and their ratios."""
        return _mapping(self.run.cost)

    @cached_property
    def parity(self) -> dict[str, Document]:
        """How far the exported file is from the network, by task."""
        return _mapping(self.run.parity)

    @cached_property
    def differences(self) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
        """This run minus another, by the other's path, task and metric."""
        return _mapping(self.run.differences)

    @cached_property
    def configs(self) -> dict[str, Document]:
        """Of the deployed networks, by task."""
        return {task: _read(self.run.deployed(task).config) for task in self.run.tasks()}

    @cached_property
    def predictions(self) -> list[PredictionTable]:
        """Of the deployed student, with only the samples whose class is known."""
        path = self.run.predictions
        try:
            return [_labelled(table) for table in read_predictions(path)] if path.is_file() else []
        except (KeyError, ValueError) as error:
            raise _broken(path, error) from None

    @cached_property
    def mistakes(self) -> list[Document]:
        """The worst mistakes whose picture is there."""
        return _pictures(self.run.worst)

    @cached_property
    def all_cases(self) -> list[CaseResult]:
        """Of a segmentation: the scores of every judged volume."""
        path = self.run.cases
        try:
            return read_cases(path) if path.is_file() else []
        except (KeyError, ValueError) as error:
            raise _broken(path, error) from None

    @cached_property
    def regions(self) -> Metrics:
        """Of a segmentation: metrics of each region, and of `all` of them."""
        return _mapping(self.run.regions)

    @cached_property
    def slices(self) -> list[Document]:
        """Of a segmentation: the cases of which slices were drawn."""
        return _pictures(self.run.slices)

    @property
    def analysis_folder(self) -> Path:
        """Where an analysis and its pictures lie, if there is one."""
        return self.analysed or self.run.analysis.parent

    @cached_property
    def analysis(self) -> Document:
        """Why the student says what it says, as far as that was asked."""
        return _mapping(self.analysis_folder / self.run.analysis.name)

    @cached_property
    def evaluations(self) -> dict[str, Metrics]:
        """What later evaluations found, by the name of each: on other images, or another split."""
        found = sorted((self.run.path / "evaluations").glob("*/metrics.json"))
        return {path.parent.name: _mapping(path) for path in found}

    @property
    def missing(self) -> list[str]:
        """What this run has not written, in words."""
        other = OF_VOLUMES if any(self.segments(task) for task in self.tasks) else {}
        wanted = (other.get(file, (file, words)) for file, words in FILES.items())
        return [words for file, words in wanted if not (self.run.path / file).is_file()]

    @property
    def roots(self) -> Document:
        """What the recipe says of the data of each task; empty when it is not there."""
        roots: Document = self.part("data").get("roots") or {}
        return roots

    @property
    def tasks(self) -> list[str]:
        """Every task that some file speaks of, in the recipe's order."""
        judged = (task for tasks in self.metrics.values() for task in tasks)
        # What trains without labels is deployed as "all": that is no task.
        return list(dict.fromkeys([*self.roots, *self.data, *judged]) or self.configs)

    @property
    def split(self) -> str:
        """The split that counts: test, else one from elsewhere, else validation."""
        first = ("test", *(s for s in self.metrics if s not in ("train", "validation")))
        return next((s for s in (*first, "validation") if s in self.metrics), "test")

    def estimates(self, task: str, split: str | None = None) -> Mapping[str, Estimate]:
        """Metrics of a task in a split, or in the one that counts; maybe none."""
        return self.metrics.get(split or self.split, {}).get(task, {})

    def segments(self, task: str) -> bool:
        """Whether a task outlines organs in volumes, and does not name the classes of images."""
        kinds = {source.get(task, {}).get("kind") for source in (self.configs, self.data)}
        return "segmentation" in kinds or "dice" in self.estimates(task)

    def cases(self, task: str) -> list[CaseResult]:
        """Scores of a task's volumes in the split that counts."""
        return [case for case in self.all_cases if (case.task, case.split) == (task, self.split)]

    def table(self, task: str) -> PredictionTable | None:
        """Predictions of a task in the split that counts."""
        fitting = (t for t in self.predictions if (t.task, t.split) == (task, self.split))
        return next((table for table in fitting if len(table)), None)

    def classes(self, task: str) -> list[str]:
        """Names of a task's classes; none for images without labels."""
        known = (source.get(task, {}).get("classes") for source in (self.configs, self.data))
        return next((list(names) for names in known if names), [])

    def part(self, section: str) -> Document:
        """A section of the recipe; empty when it is not there."""
        return dict(self.recipe.get(section) or {})


def distinct_names(evidence: Iterable[Evidence]) -> list[str]:
    """Names of runs, with the folders above as far as they tell apart what is called the same."""
    paths = [one.run.path.resolve().parts for one in evidence]
    return ["/".join(own[-_depth(own, paths) :]) for own in paths]


def _depth(own: tuple[str, ...], paths: Iterable[tuple[str, ...]]) -> int:
    """How many of the last parts of a path no other path ends with."""
    others = [path for path in paths if path != own]
    depths = range(1, len(own))
    apart = (depth for depth in depths if all(o[-depth:] != own[-depth:] for o in others))
    return next(apart, len(own))


def _pictures(folder: Path) -> list[Document]:
    """What an index says of its pictures; one whose name leads elsewhere is left out."""
    index = folder / "index.json"
    # A run may come from elsewhere: its index must not fetch other files into the page.
    return [
        picture
        for picture in (_read(index) if index.is_file() else [])
        if Path(picture["file"]).name == picture["file"] and (folder / picture["file"]).is_file()
    ]


def _mapping(path: Path) -> dict[str, Any]:
    found = _read(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise _broken(path, ValueError("it holds no names"))
    return found


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> UserError:
    reason = str(error).partition("\n")[0]
    return UserError(f"{path} cannot be read ({reason}); remove it to report without it.")


def _labelled(table: PredictionTable) -> PredictionTable:
    rows = np.flatnonzero(table.targets >= 0)
    return PredictionTable(
        table.task,
        table.split,
        table.classes,
        tuple(table.samples[row] for row in rows.tolist()),
        table.targets[rows],
        table.probabilities[rows],
        table.groups[rows],
    )
