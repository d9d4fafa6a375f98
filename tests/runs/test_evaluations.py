"""Each question to a run has a folder of its own, and the same question the same."""

from pathlib import Path

import pytest

from medistill.results import RunFolder, write_json, write_text
from medistill.runs.evaluations import evaluation_folder


def run_of(path: Path, *tasks: str) -> RunFolder:
    run = RunFolder(path / "run")
    for task in tasks:
        write_text(run.deployed(task).config, "{}")
    return run


@pytest.mark.parametrize(
    ("data", "part", "name"),
    [(None, "test", "own-test"), ("clinic", "all", "clinic-all"), ("a/b c", "test", "b c-test")],
)
def test_a_run_of_one_task_names_data_and_split(
    tmp_path: Path, data: str | None, part: str, name: str
) -> None:
    place = evaluation_folder(run_of(tmp_path, "breast"), "breast", data, part)
    assert place == tmp_path / "run" / "evaluations" / name


def test_tasks_of_one_run_do_not_overwrite_each_other(tmp_path: Path) -> None:
    run = run_of(tmp_path, "breast", "lung")
    names = [evaluation_folder(run, task, "clinic", "all").name for task in run.tasks()]
    assert names == ["breast-clinic-all", "lung-clinic-all"]


def test_folders_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    run = run_of(tmp_path, "breast")
    sources = ["north/clinic", "south/clinic", "east/clinic"]
    found = [evaluation_folder(run, "breast", source, "all").name for source in sources]
    assert found == ["clinic-all", "clinic-2-all", "clinic-3-all"]
    again = [evaluation_folder(run, "breast", source, "all").name for source in reversed(sources)]
    assert again == list(reversed(found))


def test_one_folder_is_the_same_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path, "breast")
    monkeypatch.chdir(tmp_path)
    given = [Path("clinic"), "clinic/", tmp_path / "x" / ".." / "clinic"]
    assert {evaluation_folder(run, "breast", data, "all").name for data in given} == {"clinic-all"}


def test_a_folder_is_called_by_its_name_even_from_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Hôpital 2").mkdir()
    monkeypatch.chdir(tmp_path / "Hôpital 2")
    place = evaluation_folder(run_of(tmp_path, "breast"), "breast", ".", "all")
    assert place.name == "Hôpital 2-all"


def test_it_is_not_written_where_the_data_lie(tmp_path: Path) -> None:
    place = evaluation_folder(run_of(tmp_path, "breast"), "breast", "patients/jane_doe/x", "all")
    assert not any("jane_doe" in file.read_text() for file in place.iterdir())


def test_what_an_earlier_version_left_is_taken_over(tmp_path: Path) -> None:
    run = run_of(tmp_path, "breast")
    write_json(run.path / "evaluations" / "clinic-all" / "metrics.json", {})
    assert evaluation_folder(run, "breast", "clinic", "all").name == "clinic-all"
