"""What is shipped of a network where data lack a split, labels or mistakes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medistill.data.opening import Opened
from medistill.evaluation.predict import Predictions
from medistill.results import RunFolder, read_json
from medistill.runs import export, shipping
from medistill.runs.shipping import (
    WORST,
    judge_network,
    judged,
    merge,
    pictures,
    save_worst,
    table_of,
)
from tests.tiny import tiny_student
from tests.trained import Phantoms

from .opened import open_breast, recipe_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def opened(phantoms: Phantoms) -> Opened:
    return open_breast(phantoms)


def without(opened: Opened, *splits: str) -> Opened:
    """The same images, of which nobody judges some."""
    empty = dict.fromkeys(splits, np.empty(0, np.int64))
    return replace(
        opened, dataset=replace(opened.dataset, splits={**opened.dataset.splits, **empty})
    )


def said(opened: Opened, split: str, right: int, sure: float = 4.0) -> Predictions:
    """Answers to a split: so many right ones, then wrong ones that grow surer."""
    rows = opened.dataset.splits[split]
    targets = opened.dataset.targets[rows]
    logits = np.zeros((len(rows), 3), np.float32)
    for place, target in enumerate(targets):
        wrong = place >= right
        logits[place, (target + wrong) % 3] = sure + 0.1 * place
    return Predictions(rows, targets, logits)


class TestJudged:
    def test_without_validation_nothing_is_fitted(self, opened: Opened, phantoms: Phantoms) -> None:
        bare = without(opened, "validation")
        found = judge_network(tiny_student().eval(), bare, recipe_of(phantoms), CPU)
        assert (found.temperature, found.operating) == (1.0, None)
        assert set(found.metrics(0)) == {"test"}

    def test_without_a_test_split_validation_is_all_there_is(
        self, opened: Opened, phantoms: Phantoms
    ) -> None:
        found = judge_network(
            tiny_student().eval(), without(opened, "test"), recipe_of(phantoms), CPU
        )
        assert set(found.tables) == set(found.metrics(0)) == {"validation"}

    def test_neither_is_no_failure(self, opened: Opened, phantoms: Phantoms) -> None:
        found = judged({}, without(opened, "test", "validation"), recipe_of(phantoms))
        assert found.metrics(10) == {}

    def test_doubt_divides_logits_and_changes_no_answer(
        self, opened: Opened, phantoms: Phantoms
    ) -> None:
        # Sure and often wrong: calibration must make it less sure.
        answers = {"validation": said(opened, "validation", 8), "test": said(opened, "test", 18)}
        found = judged(answers, opened, recipe_of(phantoms))
        assert found.temperature > 1
        table = found.tables["test"]
        assert (table.predicted == table.targets).all()
        assert set(table.samples) <= set(opened.digests)


class TestWorst:
    def saved(self, opened: Opened, right: int, folder: Path) -> list[dict[str, object]]:
        table = table_of(said(opened, "test", right), opened, "test", 1.0)
        (folder / "run").mkdir()
        save_worst([table], [opened], RunFolder(folder / "run"))
        index: list[dict[str, object]] = read_json(folder / "run" / "worst" / "index.json")
        return index

    def test_of_no_mistake_is_nothing(self, opened: Opened, tmp_path: Path) -> None:
        assert self.saved(opened, 18, tmp_path) == []

    def test_of_many_are_the_surest_first_and_no_more_than_fit(
        self, opened: Opened, tmp_path: Path
    ) -> None:
        index = self.saved(opened, 0, tmp_path)
        sure = [float(str(one["probability"])) for one in index]
        assert len(index) == WORST
        assert sure == sorted(sure, reverse=True)
        assert all(one["target"] != one["predicted"] for one in index)
        for one in index:
            with Image.open(tmp_path / "run" / "worst" / str(one["file"])) as image:
                assert image.size == (32, 32)

    def test_an_image_without_a_label_is_no_mistake(self, opened: Opened, tmp_path: Path) -> None:
        dataset = replace(opened.dataset, targets=np.full_like(opened.dataset.targets, -1))
        table = table_of(said(opened, "test", 0), opened, "test", 1.0)
        unknown = replace(table, targets=np.full_like(table.targets, -1))
        save_worst([unknown], [replace(opened, dataset=dataset)], RunFolder(tmp_path))
        assert read_json(tmp_path / "worst" / "index.json") == []


@pytest.mark.parametrize(("count", "found"), [(0, 0), (1, 1), (5, 5), (18, 18), (400, 18)])
def test_pictures_come_from_all_over_a_split(opened: Opened, count: int, found: int) -> None:
    rows = shipping._spread(opened, "test", count)
    assert len(rows) == len(set(rows)) == found
    assert set(rows) <= set(opened.dataset.splits["test"].tolist())
    if count == 5:
        assert len(set(opened.dataset.targets[rows])) == 3


def test_of_an_empty_split_there_are_no_pictures(opened: Opened) -> None:
    assert pictures(without(opened, "validation"), "validation", 16) == []


def test_tasks_that_lack_a_split_are_merged_with_those_that_have_it() -> None:
    one = {"accuracy": {"value": 1.0, "low": None, "high": None}}
    merged = merge([("a", {"validation": one, "test": one}), ("b", {"test": one})])
    assert {split: list(tasks) for split, tasks in merged.items()} == {
        "validation": ["a"],
        "test": ["a", "b"],
    }


def test_parity_of_a_task_leaves_that_of_others(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medistill.export.parity import Parity

    asked: list[int] = []

    def parity(path: Path, network: object, config: object, shown: list[object]) -> Parity:
        asked.append(len(shown))
        return Parity(1e-6, len(shown), 0)

    monkeypatch.setattr(export, "export_onnx", lambda network, config, path: path.write_bytes(b"x"))
    monkeypatch.setattr(export, "check_parity", parity)
    run, out = RunFolder(tmp_path), tmp_path / "file.onnx"
    for task, one in (("a", opened), ("b", without(opened, "validation"))):
        line = export.export_task(run, {"task": task}, tiny_student(), one, out=out)
    assert set(read_json(run.parity)) == {"a", "b"}
    assert asked == [min(export.COMPARED, len(opened.dataset.splits["validation"])), 0]
    assert line.endswith("on 0 validation images")
