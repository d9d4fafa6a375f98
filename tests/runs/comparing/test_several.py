"""Comparisons of methods of several tasks, and of students that start from what these leave."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medistill.errors import UserError
from medistill.evaluation.repeats import mean_of
from medistill.recipe import Recipe, read_recipe
from medistill.report.wording import UNDEFINED
from medistill.results import RunFolder, read_json, read_metrics
from medistill.runs.compare import compare
from medistill.runs.comparing.asking import grid_of, with_flags
from medistill.runs.comparing.foundations import Foundations
from medistill.runs.comparing.grid import Grid
from medistill.runs.comparing.measuring import Measurements
from medistill.runs.comparing.origins import origin
from medistill.runs.comparing.screening import screen
from medistill.runs.console import Console
from tests.attempts import Here
from tests.report.reading import read
from tests.runs.several import asked, roots_of
from tests.trained import Phantoms, quick_finish, refuse_network, write_recipe

QUIET = Console(quiet=True)
COLUMNS = ["brain", "breast", "chest", "mean of torso"]


def block(**changes: Any) -> dict[str, Any]:
    return {"methods": ["multi_task"], "seeds": [0], **changes}


def rows_of(folder: Path) -> dict[str, Any]:
    (standing,) = read_json(folder / "comparison.json")["standings"]
    return {row["label"]: row for row in standing["rows"]}


class TestTogether:
    def test_every_task_region_and_mean_is_measured(self, together: Path) -> None:
        (standing,) = read_json(together / "comparison.json")["standings"]
        assert standing["data"] == "3 tasks"
        assert standing["tasks"] == COLUMNS
        for row in standing["rows"]:
            means = {
                task: found["metrics"]["accuracy"]["mean"] for task, found in row["by_task"].items()
            }
            three = [means[task] for task in COLUMNS[:3]]
            assert row["metrics"]["accuracy"]["mean"] == pytest.approx(sum(three) / 3)
            assert means["mean of torso"] == pytest.approx(sum(three[1:]) / 2)
            assert row["metrics"]["accuracy"]["low"] is not None

    def test_a_network_for_each_task_is_what_all_are_tested_against(self, together: Path) -> None:
        rows = rows_of(together)
        assert set(rows) == {"STL", "MTL", "foundation", "LoRKD"}
        assert rows["MTL"]["alone"]["rival"] == "STL"
        assert not rows["foundation"]["student"]
        tested = {task: found["alone"] for task, found in rows["MTL"]["by_task"].items()}
        assert list(tested) == COLUMNS
        assert all(found["corrected"] >= found["p"] for found in tested.values())

    def test_what_tasks_share_is_paid_for_once(self, together: Path) -> None:
        rows = rows_of(together)
        single = rows["MTL"]["cost"]["parameters"]
        assert rows["STL"]["together"]["parameters"] == 3 * single
        # Beside the encoder two more heads, which are small.
        assert single < rows["MTL"]["together"]["parameters"] < 1.1 * single

    def test_the_csv_has_every_task_and_the_means(self, together: Path) -> None:
        with (together / "comparison.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        run = next(row["run"] for row in rows if row["entry"] == "multi_task")
        found = {
            row["task"]: float(row["value"])
            for row in rows
            if (row["run"], row["split"], row["metric"]) == (run, "test", "accuracy")
        }
        assert list(found) == [*COLUMNS, "mean of 3 tasks"]
        told = read_metrics(RunFolder(together / "cells" / run).metrics)["test"]
        assert found["brain"] == told["brain"]["accuracy"]["value"]
        keys = [(row["run"], row["split"], row["task"], row["metric"]) for row in rows]
        assert len(keys) == len(set(keys))

    def test_tables_have_methods_in_rows_and_tasks_in_columns(self, together: Path) -> None:
        head = f"|  | parameters | {' | '.join(COLUMNS)} | mean |"
        assert head in (together / "comparison.md").read_text()
        assert r"\label{tab:tasks}" in (together / "comparison.tex").read_text()
        said = read(together / "comparison.html").text
        assert "Task by task" in said
        assert "Differences to STL, by task" in said

    def test_tasks_are_drawn_apart_from_each_other(
        self, together: Path, phantoms: Phantoms
    ) -> None:
        recipe = asked(together, phantoms, compare=block())
        grid = grid_of(recipe, together)
        cells = _cells(grid, "multi_task")
        found = Measurements(grid, draws=400).of("3 tasks", cells)
        parts = [found.by_task[task]["accuracy"] for task in COLUMNS[:3]]
        mean = mean_of(parts)
        assert mean.values.tolist() == pytest.approx(found.mean["accuracy"].values.tolist())
        apart = sum(part.drawn.mean(0).var() for part in parts) / 9
        # Of 400 draws the variance is known to 10 %; the same draws everywhere would add up to 3
        # times as much.
        assert mean.drawn.mean(0).var() == pytest.approx(apart, rel=0.4)

    def test_a_teacher_of_one_head_is_told_with_and_without_the_classes_of_other_tasks(
        self, together: Path, phantoms: Phantoms, tmp_path: Path
    ) -> None:
        run = next((together / "cells").glob("*--foundation--seed0"))
        teacher = {"name": f"run:{run}", "grid": 1}
        grid = grid_of(asked(tmp_path, phantoms, teacher=teacher, compare=block()), tmp_path)
        found = Foundations(grid, Measurements(grid, 20)).reached(grid.blocks[0], [])
        for task, told in read_metrics(RunFolder(run).metrics)["test"].items():
            own, unified = found["probe_by_task"][task], found["unified"][task]
            assert own["accuracy"].mean == pytest.approx(told["accuracy"]["value"])
            assert unified["accuracy"].mean == told["unified_accuracy"]["value"]


def _cells(grid: Grid, entry: str) -> list[Any]:
    from medistill.runs.comparing.grid import wanted

    merits = {cell.name: 0.5 for cell in wanted(grid, {})}
    return [cell for cell in wanted(grid, merits) if cell.entry == entry]


@pytest.fixture(scope="module")
def started(
    together: Path, tmp_path_factory: pytest.TempPathFactory, phantoms: Phantoms
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("started")
    with pytest.MonkeyPatch.context() as patch:
        refuse_network(patch)
        quick_finish(patch)
        recipe = transfer(folder, phantoms, together)
        compare(recipe, folder / "out", console=QUIET, begin=Here())
    yield folder / "out"


class TestTransfer:
    def test_each_set_has_the_network_of_its_region(self, started: Path) -> None:
        run = next((started / "cells").glob("covid--*--STL--seed0"))
        student = read_recipe(run / "recipe.yaml").student
        assert student.name.endswith("single_task--seed0")
        assert student.task == "breast"

    def test_sets_are_columns_and_what_no_network_fits_is_left_open(self, started: Path) -> None:
        said = (started / "comparison.md").read_text()
        assert "|  | parameters | compression | covid | knee | mean |" in said
        line = next(line for line in said.split("\n") if line.startswith("| STL |"))
        assert line.endswith(f"{UNDEFINED} | {UNDEFINED} |")
        assert "| MTL |" in said
        assert r"\label{tab:transfer}" in (started / "comparison.tex").read_text()

    def test_what_was_learnt_from_before_is_said(self, started: Path) -> None:
        found = read_json(started / "comparison.json")
        assert {said.partition(":")[0] for said in found["learnt"]} == set()
        (absent,) = found["absent"]
        assert "has no network of knee, only of brain, torso" in absent[1]

    def test_a_foundation_model_is_no_rival(self, started: Path) -> None:
        (found,) = read_json(started / "comparison.json")["transfers"]
        kinds = {row["label"]: row["student"] for row in found["rows"]}
        assert kinds == {"student alone": True, "STL": True, "MTL": True, "foundation": False}


def transfer(folder: Path, phantoms: Phantoms, together: Path) -> Recipe:
    def run(entry: str) -> str:
        found = next((together / "cells").glob(f"*--{entry}--seed0"))
        return f"run:{str(found).removesuffix('0')}{{seed}}"

    return read_recipe(
        write_recipe(
            folder / "recipe.yaml",
            phantoms,
            teacher=None,
            method={"name": "student_alone"},
            training={"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "threads": 1},
            compare={
                "data": {
                    "covid": {"root": str(phantoms.chest), "region": "torso"},
                    "knee": str(phantoms.brain),
                },
                "methods": ["student_alone"],
                "pretrained": {
                    "STL": run("single_task"), "MTL": run("multi_task"),
                    "foundation": {"name": run("foundation")},
                },
                "seeds": [0],
            },
        )
    )  # fmt: skip


class TestOrigin:
    @pytest.fixture
    def run(self, together: Path, tmp_path: Path) -> Path:
        import shutil

        found = next((together / "cells").glob("*--single_task--seed0"))
        return Path(shutil.copytree(found, tmp_path / "run"))

    def test_is_the_backbone_that_experts_share_where_none_fits(self, run: Path) -> None:
        import shutil

        shutil.copytree(run / "deployed" / "brain", run / "deployed" / "shared")
        found = origin({"name": f"run:{run}"}, "covid", "knee", 0)
        assert found.student == {"name": f"run:{run}", "task": "shared"}
        assert found.shared

    def test_may_be_named_for_all_sets_or_by_set(self, run: Path) -> None:
        name = f"run:{run}"
        every = origin({"name": name, "task": "brain"}, "covid", "torso", 0)
        one = origin({"name": name, "task": {"covid": "chest"}}, "covid", "brain", 0)
        other = origin({"name": name, "task": {"other": "chest"}}, "covid", "brain", 0)
        tasks = [found.student["task"] for found in (every, one, other) if found.student]
        assert tasks == ["brain", "chest", "brain"]

    def test_of_a_run_that_is_not_there_is_none(self, tmp_path: Path) -> None:
        found = origin({"name": f"run:{tmp_path}"}, "covid", "torso", 0)
        assert found.student is None
        assert "no finished run" in found.why


class TestAsking:
    def test_roots_are_blocks_of_their_own_unless_the_method_trains_them_together(
        self, tmp_path: Path, phantoms: Phantoms
    ) -> None:
        recipe = asked(tmp_path, phantoms, compare=block())
        assert list(grid_of(recipe, tmp_path).sets) == ["3 tasks"]
        alone = recipe.model_copy(update={"method": {"name": "student_alone"}})
        assert list(grid_of(alone, tmp_path).sets) == ["brain", "breast", "chest"]

    def test_all_are_the_methods_of_several_tasks_that_need_no_teacher(
        self, tmp_path: Path, phantoms: Phantoms
    ) -> None:
        recipe = asked(tmp_path, phantoms, compare={"methods": "all"})
        found = set(grid_of(recipe, tmp_path).entries)
        assert {"single_task", "multi_task", "mgda", "pcgrad", "aligned_mtl", "moco_mtl"} <= found
        assert found.isdisjoint({"student_alone", "multi_task_distillation", "crd"})

    def test_one_task_and_several_do_not_compete(self, tmp_path: Path, phantoms: Phantoms) -> None:
        data = {"all": {"roots": roots_of(phantoms)}, "one": str(phantoms.brain)}
        recipe = asked(tmp_path, phantoms, compare=block(data=data))
        with pytest.raises(UserError, match="one is one task, but other sets have `roots:`"):
            grid_of(recipe, tmp_path)

    def test_the_place_of_several_roots_is_no_matter_of_a_flag(
        self, tmp_path: Path, phantoms: Phantoms
    ) -> None:
        recipe = asked(tmp_path, phantoms, compare=block(data={"all": {"roots": {}}}))
        with pytest.raises(UserError, match="all has several roots"):
            with_flags(recipe, {"data": ["all=elsewhere"]})

    def test_a_set_that_lacks_a_root_is_left_out_whole(
        self, tmp_path: Path, phantoms: Phantoms
    ) -> None:
        lost = {**roots_of(phantoms), "hip": {"root": "nowhere"}}
        data = {
            "all": {"roots": roots_of(phantoms)}, "more": {"roots": lost, "where": "Ask."},
        }  # fmt: skip
        recipe = asked(tmp_path, phantoms, compare=block(data=data))
        grid, absent = screen(grid_of(recipe, tmp_path), QUIET)
        assert {found.data for found, _ in grid.competing()} == {"all"}
        assert [(one.what, one.why) for one in absent] == [
            ("more", "there is nothing at nowhere. Ask.")
        ]

    def test_a_flag_chooses_among_runs_as_among_methods(
        self, together: Path, tmp_path: Path, phantoms: Phantoms
    ) -> None:
        recipe = with_flags(transfer(tmp_path, phantoms, together), {"methods": ("MTL",)})
        assert list(grid_of(recipe, tmp_path).entries) == ["student_alone", "MTL"]

    def test_students_of_one_task_start_from_runs_and_those_of_several_do_not(
        self, tmp_path: Path, phantoms: Phantoms
    ) -> None:
        recipe = asked(tmp_path, phantoms, compare=block(pretrained={"a": "run:a"}))
        with pytest.raises(UserError, match=r"compare\.pretrained starts students of one task"):
            grid_of(recipe, tmp_path)
