"""The table of every number: its rows, its means, and what a stop leaves of it."""

import csv
from pathlib import Path

import pytest

from medistill.report.rivals.budget import Budget
from medistill.results import RunFolder, read_json, write_json
from medistill.runs.comparing.grid import Grid, wanted
from medistill.runs.comparing.writing import COLUMNS, write_account, write_csv
from tests.report.rivals.accounts import account

from .made import IMAGES, grid, leave_all


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "comparison.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(found: Grid, folder: Path) -> list[dict[str, str]]:
    merits = leave_all(found, {})
    write_csv(folder, found, wanted(found, merits))
    return rows(folder)


def test_every_run_has_a_row_for_each_metric_and_its_time(tmp_path: Path) -> None:
    found = written(grid(tmp_path, seeds=[0]), tmp_path)
    assert tuple(found[0]) == COLUMNS
    assert {row["entry"] for row in found} == {"student_alone", "reprogramming_distillation"}
    tested = [row for row in found if row["split"] == "test"]
    assert {float(row["value"]) for row in tested} == {1 - 10 / IMAGES}
    assert [row["value"] for row in found if row["metric"] == "seconds"] == ["60.0", "60.0"]
    assert {row["teacher"] for row in found} == {"", "test_resnet"}


@pytest.mark.parametrize("name", ["a, b", 'the "new" set', "Ünïcode ☃", "=1+1"])
def test_names_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    found = written(grid(tmp_path, data={name: "x"}, methods=["student_alone"]), tmp_path)
    assert {row["data"] for row in found} == {name}
    assert {row["task"] for row in found if row["split"]} == {name}


def test_what_a_budget_allows_stands_in_the_json_and_above_the_tables(tmp_path: Path) -> None:
    write_account(tmp_path, account(), Budget(10, 5))
    found = read_json(tmp_path / "comparison.json")["budget"]
    assert (found["megabytes"], found["milliseconds"]) == (10, 5)
    assert found["best"]["covid_ct"]["label"] == "RD"
    said = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert said.startswith("The best within 10 MB and 5 ms:\n\n- **covid_ct**: shufflenet by RD")
    assert "\n\nEvery method in every block." in said
    write_account(tmp_path, account(), Budget())
    assert read_json(tmp_path / "comparison.json")["budget"] is None
    assert (tmp_path / "comparison.md").read_text(encoding="utf-8").startswith("Every method")


def test_costs_that_nobody_measured_are_empty_and_others_stand_there(tmp_path: Path) -> None:
    found = grid(tmp_path, methods=["student_alone"], seeds=[0])
    merits = leave_all(found, {})
    (cell,) = wanted(found, merits)
    run = RunFolder(found.cells / cell.name)
    write_json(run.cost, {"student": {"macs": 5}, "together": {"parameters": 3, "bytes": 12}})
    write_csv(tmp_path, found, [cell])
    by_metric = {(row["task"], row["metric"]): row["value"] for row in rows(tmp_path)}
    assert by_metric["", "macs"] == "5"
    assert by_metric["", "step_seconds"] == by_metric["", "peak_bytes"] == ""
    assert by_metric["together", "bytes"] == "12"


def test_a_table_that_cannot_be_finished_leaves_the_last_one(tmp_path: Path) -> None:
    found = grid(tmp_path, methods=["student_alone"], seeds=[0, 1])
    before = written(found, tmp_path)
    cells = wanted(found, {})
    RunFolder(found.cells / cells[1].name).metrics.unlink()
    with pytest.raises(FileNotFoundError):
        write_csv(tmp_path, found, cells)
    assert rows(tmp_path) == before
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_of_several_tasks_every_mean_has_rows_of_its_own(tmp_path: Path) -> None:
    roots = {"a": "a", "b": {"root": "b", "region": "torso"}, "c": {"root": "c", "region": "torso"}}
    data = {"all": {"roots": roots}}
    found = grid(tmp_path, data=data, methods=["multi_task"], seeds=[0], teachers={"t": "run:t"})
    tasks = [row["task"] for row in written(found, tmp_path) if row["metric"] == "accuracy"]
    assert set(tasks) == {"a", "b", "c", "mean of torso", "mean of 3 tasks"}
