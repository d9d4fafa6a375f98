"""What is said of a run against others: as much as the images and the tests allow."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from medistill.report import figures
from medistill.report.against import results
from medistill.report.canvas import SERIES
from medistill.report.comparison import Contender
from medistill.report.evidence import Evidence
from medistill.report.figures import intervals
from medistill.report.markup import together
from medistill.report.wording import MINUS, UNDEFINED
from medistill.results import RunFolder, write_json, write_metrics, write_predictions

from . import folders
from .reading import Reader, read
from .sketching import names, sketch

TASK = "covid_ct"
ESTIMATE = {"value": 0.75, "low": 0.7, "high": 0.8}


@pytest.fixture(autouse=True)
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    return sketch(monkeypatch, figures)


def run_of(path: Path, split: str = "test", **metrics: Any) -> RunFolder:
    table = folders.table(count=30, split=split)
    run = RunFolder(path)
    write_predictions(run.predictions, [table])
    write_metrics(run.metrics, {split: {TASK: metrics or {"auroc": ESTIMATE}}})
    return run


def shown(run: RunFolder, *others: RunFolder) -> Reader:
    return read(together(results(Evidence(run), [Evidence(other) for other in others], TASK)))


def verdict_on(tmp_path: Path, **found: Any) -> str:
    """A run against another, with these differences."""
    run, other = run_of(tmp_path / "rd"), run_of(tmp_path / "kd")
    write_json(run.differences, {"kd": {TASK: found}})
    return shown(run, other).text


class TestVerdict:
    def test_difference_without_an_interval_is_not_judged(self, tmp_path: Path) -> None:
        text = verdict_on(tmp_path, auroc={"value": 0.1, "low": None, "high": None, "p": None})
        assert f"Against kd: AUROC +0.100 ({UNDEFINED}), not judged." in text
        assert f"AUROC +0.100 {UNDEFINED} {UNDEFINED} not judged" in text

    def test_interval_that_ends_at_zero_is_noise(self, tmp_path: Path) -> None:
        text = verdict_on(tmp_path, auroc={"value": 0.1, "low": 0.0, "high": 0.2, "p": 0.05})
        assert "AUROC +0.100 (0.000 to +0.200), not distinguishable from noise." in text

    def test_worse_can_be_certain_as_well(self, tmp_path: Path) -> None:
        text = verdict_on(tmp_path, auroc={"value": -0.1, "low": -0.2, "high": -0.05, "p": 0.0001})
        told = f"AUROC {MINUS}0.100 ({MINUS}0.200 to {MINUS}0.050), distinguishable from noise."
        assert told in text
        assert "< 0.001" in text

    def test_metric_beside_the_key_ones_is_in_the_table_alone(self, tmp_path: Path) -> None:
        text = verdict_on(tmp_path, brier={"value": 0.1, "low": 0.05, "high": 0.2, "p": 0.01})
        assert "Against kd: no key metric was tested." in text
        assert "Brier score +0.100" in text

    def test_metric_of_one_class_is_no_verdict(self, tmp_path: Path) -> None:
        difference = {"value": 0.1, "low": 0.05, "high": 0.2, "p": 0.01}
        assert "no paired test was made" in verdict_on(tmp_path, **{"sensitivity/a": difference})

    def test_test_of_another_task_is_none_of_this(self, tmp_path: Path) -> None:
        run, other = run_of(tmp_path / "rd"), run_of(tmp_path / "kd")
        write_json(run.differences, {"kd": {"another": {"auroc": ESTIMATE}}})
        assert "no paired test was made" in shown(run, other).text

    def test_other_split_is_not_compared(self, tmp_path: Path) -> None:
        text = shown(run_of(tmp_path / "rd"), run_of(tmp_path / "kd", "validation")).text
        assert "Against kd: it has no predictions for the same task and split." in text


class TestResults:
    def test_of_nothing_there_is_nothing(self, tmp_path: Path) -> None:
        assert results(Evidence(RunFolder(tmp_path)), [], TASK) == []

    def test_one_network_has_no_picture(self, tmp_path: Path, axes: list[Axes]) -> None:
        shown(run_of(tmp_path))
        assert axes == []

    def test_metric_of_a_class_has_no_row(self, tmp_path: Path) -> None:
        text = shown(run_of(tmp_path, auroc=ESTIMATE, **{"sensitivity/a": ESTIMATE})).text
        assert "AUROC" in text
        assert "Sensitivity" not in text

    def test_undefined_value_is_a_dash_without_an_interval(self, tmp_path: Path) -> None:
        text = shown(run_of(tmp_path, auroc={"value": None, "low": None, "high": None})).text
        assert f"0.5 is chance {UNDEFINED}\n" in text

    def test_later_evaluations_stand_below(self, tmp_path: Path) -> None:
        run = run_of(tmp_path)
        found = {"all": {TASK: {"auroc": {**ESTIMATE, "value": 0.6}}}, "x": {"another": {}}}
        write_metrics(run.path / "evaluations" / "clinic <b>" / "metrics.json", found)
        text = shown(run).text
        assert "clinic <b> (all) 0.600 (0.700 to 0.800)" in text
        assert "(x)" not in text

    def test_other_splits_are_folded_and_only_validation_is_where_choices_were_made(
        self, tmp_path: Path
    ) -> None:
        run = run_of(tmp_path)
        splits = ("test", "train", "validation")
        write_metrics(run.metrics, {split: {TASK: {"auroc": ESTIMATE}} for split in splits})
        text = shown(run).text
        assert "On the train split\n" in text
        assert "On the validation split, where choices were made\n" in text


class TestColours:
    def test_network_has_one_colour_in_tables_and_figures(self, tmp_path: Path) -> None:
        runs = [run_of(tmp_path / f"run{number}") for number in range(8)]
        classes = [tag["class"] for tag in shown(*runs).all("span") if "who" in str(tag)]
        wanted = [0, *(series % len(SERIES) for series in range(2, 9))]
        assert classes == [f"who series-{number}" for number in wanted]

    @pytest.mark.parametrize("series", range(14))
    def test_style_knows_the_colour_of_every_network(self, series: int) -> None:
        from medistill.report.style import STYLE

        who, colour = Contender("x", "", series, {}).colour.split()
        assert f".{who} {{" in STYLE
        assert f".{colour}::before {{" in STYLE

    def test_network_that_lacks_the_first_metric_is_in_the_legend(self, axes: list[Axes]) -> None:
        intervals({
            "accuracy": [(0, "student", ESTIMATE)],
            "auroc": [(0, "student", ESTIMATE), (2, "kd", ESTIMATE)],
        })  # fmt: skip
        assert names(axes[0]) == ["student", "kd"]
