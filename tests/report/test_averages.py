"""Means over tasks."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from medistill.report.averages import averaged, groups, lines, mean_estimate
from medistill.report.evidence import Evidence
from medistill.report.tables import results_table
from medistill.results import Estimate, RunFolder, write_text

from . import folders
from .reading import read


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    return {"value": value, "low": low, "high": high}


def with_regions(path: Path, **regions: str) -> RunFolder:
    run = folders.several_tasks(path)
    document = yaml.safe_load(run.recipe.read_text())
    for task, region in regions.items():
        document["data"]["roots"][task]["region"] = region
    write_text(run.recipe, yaml.safe_dump(document, sort_keys=False))
    return run


class TestMean:
    def test_every_task_counts_alike_and_sides_add_as_squares(self) -> None:
        found = mean_estimate([estimate(0.6, 0.57, 0.70), estimate(0.8, 0.76, 0.83)])
        assert found["value"] == pytest.approx(0.7)
        assert found["low"] == pytest.approx(0.7 - 0.05 / 2)
        assert found["high"] == pytest.approx(0.7 + np.hypot(0.1, 0.03) / 2)

    def test_it_covers_the_true_mean_of_independent_tasks_as_often_as_it_says(self) -> None:
        draws, sides = np.random.default_rng(0).normal(size=(4000, 3)), np.array([0.02, 0.05, 0.1])
        hits = 0
        for errors in draws * sides / 1.96:
            found = mean_estimate(
                [estimate(e, e - s, e + s) for e, s in zip(errors, sides, strict=True)]
            )
            hits += found["low"] <= 0 <= found["high"]
        # Two binomial deviations of 4000 draws are 0.007.
        assert hits / 4000 == pytest.approx(0.95, abs=0.01)

    def test_what_one_task_does_not_know_nobody_knows(self) -> None:
        assert mean_estimate([estimate(0.5, 0.4, 0.6), estimate(None)])["value"] is None
        found = mean_estimate([estimate(0.5, 0.4, 0.6), estimate(0.7)])
        assert found == {"value": pytest.approx(0.6), "low": None, "high": None}

    def test_a_metric_that_a_task_lacks_has_no_mean(self) -> None:
        both = [{"accuracy": estimate(0.5), "auroc": estimate(0.5)}, {"accuracy": estimate(0.7)}]
        assert list(averaged(both, ["accuracy", "auroc"])) == ["accuracy"]


class TestGroups:
    def test_one_task_has_no_mean(self, tmp_path: Path) -> None:
        assert groups(Evidence(folders.binary(tmp_path / "run"))) == {}

    def test_tasks_of_one_region_come_before_all(self, tmp_path: Path) -> None:
        run = with_regions(tmp_path / "run", covid_ct="lung", busi="lung", blood_cells="blood")
        assert groups(Evidence(run)) == {
            "mean of lung": ["covid_ct", "busi"],
            "mean of 3 tasks": ["covid_ct", "blood_cells", "busi"],
        }

    def test_a_region_of_all_tasks_is_said_once(self, tmp_path: Path) -> None:
        run = with_regions(tmp_path / "run", covid_ct="x", busi="x", blood_cells="x")
        assert list(groups(Evidence(run))) == ["mean of 3 tasks"]


def test_the_table_ends_with_the_mean_of_each_network_that_judged_all_tasks(
    tmp_path: Path,
) -> None:
    run, other = folders.several_tasks(tmp_path / "rd"), folders.binary(tmp_path / "one")
    _, *rows = results_table(run, [other])
    (mean,) = (row for row in rows if row[:2] == ["mean of 3 tasks", "Accuracy"])
    evidence = Evidence(run)
    values = [evidence.estimates(task)["accuracy"]["value"] for task in evidence.tasks]
    assert mean[2].startswith(f"{100 * np.mean(values):.1f} % (")
    assert mean[3] == "\N{EN DASH}"
    assert not [row for row in rows if row[0].startswith("mean") and "class" in row[1]]


def test_the_page_says_the_mean_below_the_tasks(tmp_path: Path) -> None:
    from medistill.report.page import page

    found = read(page(Evidence(folders.several_tasks(tmp_path / "run"))))
    assert "mean of 3 tasks 693" in found.text


def test_of_several_tasks_a_line_each_is_printed_and_their_mean(tmp_path: Path) -> None:
    assert lines(Evidence(folders.binary(tmp_path / "one"))) == []
    assert lines(Evidence(folders.interrupted(tmp_path / "none"))) == []
    *tasks, mean = lines(Evidence(folders.several_tasks(tmp_path / "run")))
    assert [line.partition(":")[0] for line in tasks] == ["covid_ct", "blood_cells", "busi"]
    assert mean.startswith("mean of 3 tasks: accuracy 80.6 % (") and ", AUROC 0." in mean
