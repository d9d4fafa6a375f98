"""Which task of a run is meant, and what is said where nobody can know."""

from pathlib import Path

import pytest

from medistill.errors import UserError
from medistill.results import SHARED, RunFolder, write_json, write_text
from medistill.runs.load import load, only_task


def run(folder: Path, *tasks: str) -> RunFolder:
    made = RunFolder(folder)
    write_text(made.recipe, "data: {root: x}")
    for task in tasks:
        write_json(made.deployed(task).config, {})
    return made


def test_the_only_task_need_not_be_named_and_what_tasks_share_is_none(tmp_path: Path) -> None:
    assert only_task(run(tmp_path, "breast", SHARED), None) == "breast"


def test_of_several_the_named_one_is_meant(tmp_path: Path) -> None:
    assert only_task(run(tmp_path, "brain", "Brüst 2"), "Brüst 2") == "Brüst 2"


@pytest.mark.parametrize(
    ("tasks", "asked", "said"),
    [
        ((), None, "holds no deployed network. Is the run finished?"),
        (("a", "b"), None, "has 2 tasks; choose with --task: a, b."),
        (("a",), "b", "has no task 'b'; choose with --task: a."),
        (("a",), "", "has 1 tasks; choose with --task: a."),
        (("a",), SHARED, "has no task 'shared'; choose with --task: a."),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    tmp_path: Path, tasks: tuple[str, ...], asked: str | None, said: str
) -> None:
    with pytest.raises(UserError) as error:
        only_task(run(tmp_path, *tasks), asked)
    assert str(error.value) == f"{tmp_path} {said}"


def test_a_folder_that_is_no_run_is_told_by_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^No run at .*nowhere \(looked for .*recipe\.yaml\)\.$"):
        load(tmp_path / "nowhere")
