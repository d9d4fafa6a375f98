"""A run folder as the report reads it, whole or not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.errors import UserError
from medistill.report.evidence import Evidence, distinct_names
from medistill.results import RunFolder, append_jsonl, write_json, write_metrics, write_text

from . import folders

ESTIMATE = {"value": 0.5, "low": None, "high": None}


def test_empty_folder_tells_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    evidence = Evidence(RunFolder(tmp_path))
    assert (evidence.recipe, evidence.log, evidence.metrics, evidence.predictions) == (
        {},
        [],
        {},
        [],
    )
    assert (evidence.tasks, evidence.mistakes, evidence.configs) == ([], [], {})
    assert evidence.table("any") is None
    assert len(evidence.missing) == 9


def test_tasks_stand_in_the_order_of_the_recipe(tmp_path: Path) -> None:
    evidence = Evidence(folders.several_tasks(tmp_path / "run"))
    assert evidence.tasks == ["covid_ct", "blood_cells", "busi"]
    assert evidence.classes("blood_cells") == list(folders.BLOOD)


@pytest.mark.parametrize(
    ("splits", "wanted"),
    [(["validation", "test"], "test"), (["validation", "hospital"], "hospital"),
     (["validation"], "validation"), ([], "test")],
)  # fmt: skip
def test_test_split_counts_before_others_and_validation_last(
    splits: list[str], wanted: str, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    write_metrics(run.metrics, {split: {"t": {"auroc": ESTIMATE}} for split in splits})
    assert Evidence(run).split == wanted


def test_samples_without_a_label_are_left_out(tmp_path: Path) -> None:
    table = folders.table(count=10)
    table.targets[4:] = -1
    run = folders.write_run(tmp_path / "run", [table])
    found = Evidence(run).table("covid_ct")
    assert found is not None
    assert found.samples == table.samples[:4]


@pytest.mark.parametrize("name", ["metrics.json", "cost.json", "predictions.csv", "recipe.yaml"])
def test_broken_file_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    run = folders.binary(tmp_path / "run")
    write_text(run.path / name, "task,split\n[1: {,x")
    evidence = Evidence(run)
    with pytest.raises(UserError, match=f"{name} cannot be read") as found:
        _ = evidence.metrics, evidence.cost, evidence.predictions, evidence.recipe
    assert "\n" not in str(found.value)


def test_file_of_another_shape_is_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_json(run.cost, [1, 2])
    with pytest.raises(UserError, match=r"cost\.json cannot be read \(it holds no names\)"):
        _ = Evidence(run).cost


def test_runs_are_called_by_their_folder_and_if_need_be_by_the_one_above(tmp_path: Path) -> None:
    runs = [Evidence(RunFolder(tmp_path / name)) for name in ("a/rd", "b/rd", "b/kd")]
    assert distinct_names(runs) == ["a/rd", "b/rd", "kd"]


PATHS = st.lists(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6,
    unique=True,
)  # fmt: skip


@given(PATHS)
def test_names_of_different_runs_differ_and_are_no_longer_than_that_takes(
    paths: list[tuple[str, ...]],
) -> None:
    runs = [Evidence(RunFolder(Path("/runs", *path))) for path in paths]
    names = distinct_names(runs)
    assert len(set(names)) == len(names)
    for name, path in zip(names, paths, strict=True):
        assert "/".join(("/runs", *path)).endswith(name)
        shorter = name.partition("/")[2]
        if shorter:  # then another ends with it as well
            assert sum(f"/{'/'.join(p)}".endswith(f"/{shorter}") for p in paths) > 1


def test_run_beside_itself_keeps_its_name() -> None:
    assert distinct_names([Evidence(RunFolder(Path("/runs/rd")))] * 2) == ["rd", "rd"]


@pytest.mark.parametrize("recipe", ["", "data:\n", "data: {}\n", "data: {roots: null}\n"])
def test_recipe_without_data_knows_no_task(recipe: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_text(run.recipe, recipe)
    assert Evidence(run).tasks == []


class TestSegments:
    @pytest.mark.parametrize(
        ("file", "value"),
        [
            ("deployed/t/config.json", {"kind": "segmentation"}),
            ("data.json", {"t": {"kind": "segmentation"}}),
            ("metrics.json", {"test": {"t": {"dice": ESTIMATE}}}),
        ],
    )
    def test_any_file_may_tell_that_a_task_outlines(
        self, tmp_path: Path, file: str, value: object
    ) -> None:
        write_json(tmp_path / file, value)
        evidence = Evidence(RunFolder(tmp_path))
        assert evidence.segments("t")
        assert not evidence.segments("another")

    def test_scores_are_missing_then_and_predictions_are_not(self, tmp_path: Path) -> None:
        write_json(tmp_path / "data.json", {"t": {"kind": "segmentation"}})
        missing = Evidence(RunFolder(tmp_path)).missing
        assert "the scores of the cases" in missing
        assert "the predictions" not in missing


def test_epochs_alone_are_the_log(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    append_jsonl(run.log, {"note": "resumed"})
    append_jsonl(run.log, {"epoch": 1})
    assert Evidence(run).log == [{"epoch": 1}]


@pytest.mark.parametrize("file", ["", ".", "..", "a/../b.png", "/etc/hostname", "gone.png"])
def test_picture_that_is_no_file_of_its_folder_is_left_out(file: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_json(run.worst / "index.json", [{"file": file}])
    assert Evidence(run).mistakes == []
