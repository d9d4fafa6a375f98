"""The top of the page: in words that are true and can be read aloud."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from medistill.report.evidence import Evidence
from medistill.report.headline import headline, images_of, student_of, teacher_of
from medistill.results import RunFolder, write_json, write_metrics, write_text

from . import folders
from .reading import Reader, read

ESTIMATE = {"value": 0.75, "low": 0.7, "high": 0.8}
EVIL = '"><script>alert(1)</script>'


def judged(path: Path, **tasks: list[str]) -> RunFolder:
    """A run of which there are metrics and an account of the data alone."""
    run = RunFolder(path)
    write_json(run.data, {task: folders.data(classes) for task, classes in tasks.items()})
    write_metrics(run.metrics, {"test": {task: {"auroc": ESTIMATE} for task in tasks}})
    return run


def costing(run: RunFolder, ratios: dict[str, Any], **student: Any) -> RunFolder:
    write_json(run.cost, {"student": student, "teacher": None, "ratios": ratios})
    return run


def top(run: RunFolder) -> Reader:
    return read(headline(Evidence(run)))


class TestPurpose:
    @pytest.mark.parametrize(
        ("classes", "words"),
        [
            (["a", "b"], "for t: telling a and b apart."),
            (["a", "b", "c"], "for t: telling a, b and c from one another."),
            (list("abcdef"), "for t: telling 6 classes from one another."),
            (["a"], "A student for t."),
        ],
    )
    def test_classes_are_named_as_long_as_they_are_few(
        self, tmp_path: Path, classes: list[str], words: str
    ) -> None:
        assert words in top(judged(tmp_path, t=classes)).text

    def test_of_several_tasks_no_class_is_named(self, tmp_path: Path) -> None:
        text = top(judged(tmp_path, eye=["ill", "well"], ear=["ill", "well"])).text
        assert "A student for 2 tasks: eye and ear." in text
        assert "telling" not in text

    def test_run_of_nothing_is_a_student_and_its_folder_is_its_name(self, tmp_path: Path) -> None:
        text = top(RunFolder(tmp_path / "empty")).text
        assert text.startswith("medistill · report of a run\nempty\nA student.\n")
        assert "The run was interrupted, or has nothing to be judged by." in text


class TestNames:
    def test_student_and_teacher_are_called_without_their_library(self, tmp_path: Path) -> None:
        evidence = Evidence(folders.interrupted(tmp_path))
        assert (student_of(evidence), teacher_of(evidence)) == (
            "shufflenet_v2_x1_0", "mobilenetv2_100",
        )  # fmt: skip

    def test_environment_knows_better_than_the_recipe_who_taught(self, tmp_path: Path) -> None:
        run = folders.interrupted(tmp_path)
        write_json(run.environment, {"teacher": None})
        assert teacher_of(Evidence(run)) == ""
        assert "without a teacher" in top(run).text

    def test_names_cannot_become_markup(self, tmp_path: Path) -> None:
        run = judged(tmp_path / "run", **{EVIL: [EVIL, "b"], "t": ["a"]})
        recipe = {"student": {"name": EVIL}, "method": {"name": EVIL}, "teacher": {"name": EVIL}}
        write_text(run.recipe, yaml.safe_dump(recipe))
        found = top(run)
        assert not found.all("script")
        assert EVIL in found.text

    def test_recipe_may_hold_no_data(self, tmp_path: Path) -> None:
        run = judged(tmp_path, t=["a", "b"])
        write_text(run.recipe, "data:\nstudent: {name: timm/resnet18}\n")
        assert "resnet18 for t: telling a and b apart, without a teacher." in top(run).text


class TestSizeAndSpeed:
    @pytest.mark.parametrize(
        ("ratio", "words"),
        [
            (0.0041, "(244 times fewer than the teacher)"),
            (0.0002, "(5,000 times fewer than the teacher)"),
            (0.01004, "(100 times fewer than the teacher)"),
            (0.0102, "(98 times fewer than the teacher)"),
            (0.24, "(4.2 times fewer than the teacher)"),
            (0.96, "(about as the teacher)"),
            (1.0, "(about as the teacher)"),
            (1.5, "(1.5 times more than the teacher)"),
            (312.4, "(312 times more than the teacher)"),
        ],
    )
    def test_ratios_are_numbers_that_people_say(
        self, tmp_path: Path, ratio: float, words: str
    ) -> None:
        run = costing(judged(tmp_path, t=["a"]), {"parameters": ratio}, parameters=1_255_654)
        assert f"It holds 1.26 M parameters {words}." in top(run).text

    @pytest.mark.parametrize("ratio", [None, 0])
    def test_ratio_that_means_nothing_is_not_told(self, tmp_path: Path, ratio: int | None) -> None:
        run = costing(judged(tmp_path, t=["a"]), {"parameters": ratio}, parameters=17)
        assert "It holds 17.0 parameters." in top(run).text

    def test_speed_stands_alone_where_the_size_is_unknown(self, tmp_path: Path) -> None:
        run = costing(judged(tmp_path, t=["a"]), {"latency_ms_p50": 2}, latency_ms_p50=3)
        assert "It answers in 3.00 ms on a CPU (2 times slower than the teacher)." in top(run).text

    def test_without_a_cost_nothing_is_said_of_it(self, tmp_path: Path) -> None:
        text = top(costing(judged(tmp_path, t=["a"]), {})).text
        assert "It holds" not in text
        assert "answers" not in text


class TestKeyFigures:
    def test_images_are_counted_by_the_account_where_there_are_no_predictions(
        self, tmp_path: Path
    ) -> None:
        run = judged(tmp_path, t=["a", "b"])
        assert images_of(Evidence(run), "t") == 101 + 94
        assert "On 195 test images" in top(run).text

    def test_without_an_account_the_split_is_named(self, tmp_path: Path) -> None:
        run = judged(tmp_path, t=["a"])
        run.data.unlink()
        assert "On the test split; beneath each value its 95 % interval." in top(run).text

    def test_run_without_a_test_split_tells_of_the_one_that_it_has(self, tmp_path: Path) -> None:
        run = judged(tmp_path, t=["a", "b"])
        write_metrics(run.metrics, {"validation": {"t": {"auroc": ESTIMATE}}})
        assert "On 111 validation images" in top(run).text

    def test_value_without_an_interval_stands_alone(self, tmp_path: Path) -> None:
        run = judged(tmp_path, t=["a"])
        alone = {"value": 0.75, "low": None, "high": None}
        write_metrics(run.metrics, {"test": {"t": {"auroc": alone}}})
        assert "AUROC 0.750\nOn" in top(run).text.replace(" \n", "\n")

    def test_teacher_s_probe_stands_beneath_where_it_was_judged(self, tmp_path: Path) -> None:
        run = judged(tmp_path, t=["a"])
        write_json(run.teacher_metrics, {"test": {"t": {"auroc": {**ESTIMATE, "value": 0.9}}}})
        assert "AUROC 0.750 0.700 to 0.800 teacher (probe) 0.900" in top(run).text


class TestSummary:
    def test_task_that_was_not_judged_has_no_row_and_keeps_its_number(self, tmp_path: Path) -> None:
        run = judged(tmp_path, a=["x", "y"], b=["x", "y"], c=["x", "y"])
        write_metrics(run.metrics, {"test": {t: {"auroc": ESTIMATE} for t in ("a", "c")}})
        found = top(run)
        assert [link["href"] for link in found.all("a")] == ["#task-1", "#task-3"]
        assert "mean of 2 tasks 390 0.750 (0.715 to 0.785)" in found.text

    def test_metric_that_one_task_lacks_is_a_dash_there_and_in_the_mean(
        self, tmp_path: Path
    ) -> None:
        run = judged(tmp_path, a=["x", "y"], b=["x", "y"])
        both = {"a": {"auroc": ESTIMATE, "accuracy": ESTIMATE}, "b": {"auroc": ESTIMATE}}
        write_metrics(run.metrics, {"test": both})
        text = top(run).text
        assert "b 195 \N{EN DASH} 0.750" in text
        assert "mean of 2 tasks 390 \N{EN DASH} 0.750" in text

    def test_images_that_nobody_counted_are_a_dash(self, tmp_path: Path) -> None:
        run = judged(tmp_path, a=["x"], b=["x"])
        run.data.unlink()
        assert "a \N{EN DASH} 0.750" in top(run).text
