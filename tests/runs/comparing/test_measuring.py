"""Means of tasks and of regions, and what is no ground for any."""

from pathlib import Path

import numpy as np
import pytest

from medistill.evaluation.repeats import Repeated
from medistill.recipe import dump, validate
from medistill.results import RunFolder, write_json, write_predictions, write_text
from medistill.runs.comparing.measuring import Measurements, averaged, with_means

from .made import BASE, CLASSES, grid, table

TASKS = ("a", "b")


def repeated(value: float) -> Repeated:
    return Repeated((0,), np.array([value]), np.full((1, 4), value), 40)


def values(found: dict[str, Repeated]) -> dict[str, float]:
    return {name: float(one.values.mean()) for name, one in found.items()}


class TestMeans:
    def test_are_of_what_all_tasks_have(self) -> None:
        one = {"accuracy": repeated(0.5), "auroc": repeated(0.9)}
        two = {"accuracy": repeated(0.7), "brier": repeated(0.1)}
        assert values(dict(averaged([one, two]))) == pytest.approx({"accuracy": 0.6})

    def test_of_nothing_in_common_are_none(self) -> None:
        assert averaged([{"auroc": repeated(0.9)}, {"brier": repeated(0.1)}]) == {}

    def test_of_a_region_stand_beside_its_tasks_and_count_once_in_the_whole(self) -> None:
        each = {
            name: {"accuracy": repeated(v)} for name, v in zip("abc", (0.3, 0.6, 0.9), strict=True)
        }
        found = with_means(each, {"a": "a", "b": "torso", "c": "torso"})
        assert list(found.by_task) == ["a", "b", "c", "mean of torso"]
        assert values(dict(found.by_task["mean of torso"])) == pytest.approx({"accuracy": 0.75})
        assert values(dict(found.mean)) == pytest.approx({"accuracy": 0.6})

    def test_of_one_region_alone_are_the_mean_of_all_and_no_more(self) -> None:
        each = {name: {"accuracy": repeated(0.5)} for name in "ab"}
        assert list(with_means(each, dict.fromkeys("ab", "torso")).by_task) == ["a", "b"]


class TestFoundation:
    def left(self, folder: Path, *tasks: str, finished: bool = True) -> RunFolder:
        run = RunFolder(folder)
        write_text(run.recipe, dump(validate(BASE)))
        write_predictions(run.predictions, [table(task, 4) for task in tasks])
        for task in tasks:
            write_json(run.deployed(task).config, {"classes": CLASSES})
        if finished:
            run.finish()
        return run

    def measured(self, tmp_path: Path) -> Measurements:
        data = {"all": {"roots": {task: task for task in TASKS}}}
        return Measurements(grid(tmp_path, data=data, methods=["multi_task"]), 20)

    def test_a_run_that_judges_all_tasks_is_measured_on_them(self, tmp_path: Path) -> None:
        found = self.measured(tmp_path).of_run("all", self.left(tmp_path / "run", *TASKS, "more"))
        assert found is not None
        assert set(found.by_task) == set(TASKS)
        assert values(dict(found.mean))["accuracy"] == pytest.approx(0.9)

    @pytest.mark.parametrize(("tasks", "finished"), [(("a",), True), (TASKS, False), ((), True)])
    def test_one_that_lacks_a_task_or_its_end_is_not(
        self, tmp_path: Path, tasks: tuple[str, ...], finished: bool
    ) -> None:
        run = self.left(tmp_path / "run", *tasks, finished=finished)
        assert self.measured(tmp_path).of_run("all", run) is None

    def test_one_that_was_judged_on_other_images_is_not(self, tmp_path: Path) -> None:
        measured = self.measured(tmp_path)
        first, other = (self.left(tmp_path / name, *TASKS) for name in ("one", "two"))
        write_predictions(other.predictions, [
            # The same digits under another task's digests.
            type(one)(**{**vars(one), "samples": one.samples[::-1]})
            for one in (table(task, 4) for task in TASKS)
        ])  # fmt: skip
        assert measured.of_run("all", first) is not None
        assert measured.of_run("all", other) is None
