"""Files of a run: whole or absent, readable again, and naming nobody."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medistill.results import (
    PredictionTable,
    RunFolder,
    append_jsonl,
    plain,
    read_json,
    read_jsonl,
    read_metrics,
    read_predictions,
    replacing,
    write_json,
    write_jsonl,
    write_metrics,
    write_predictions,
    write_text,
)


def table(task: str = "ct", split: str = "test", classes: tuple[str, ...] = ("COVID", "other")):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(len(classes)), 7).astype(np.float32)
    targets = generator.integers(-1, len(classes), 7)
    samples = tuple(f"{number:016x}" for number in range(7))
    return PredictionTable(
        task, split, classes, samples, targets, probabilities, np.array([0, 0, 1, 1, 2, -1, -1])
    )


def assert_same(one: PredictionTable, other: PredictionTable) -> None:
    assert (one.task, one.split, one.classes) == (other.task, other.split, other.classes)
    assert one.samples == other.samples
    np.testing.assert_array_equal(one.targets, other.targets)
    np.testing.assert_array_equal(one.groups, other.groups)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


class TestRunFolder:
    def test_names_the_files_of_the_issue(self, tmp_path):
        run = RunFolder(tmp_path)
        wanted = {
            run.recipe: "recipe.yaml",
            run.environment: "environment.json",
            run.log: "log.jsonl",
            run.splits: "splits.json",
            run.last: "checkpoints/last.pt",
            run.best: "checkpoints/best.pt",
            run.probe: "probe.safetensors",
            run.predictions: "predictions.csv",
            run.metrics: "metrics.json",
            run.cost: "cost.json",
            run.card: "README.md",
            run.report: "report.html",
            run.worst: "worst",
            run.deployed("ct").weights: "deployed/ct/model.safetensors",
            run.deployed("ct").config: "deployed/ct/config.json",
            run.deployed("ct").onnx: "deployed/ct/model.onnx",
        }
        assert [path.relative_to(tmp_path).as_posix() for path in wanted] == list(wanted.values())

    def test_finishes_once_it_is_told_so(self, tmp_path):
        run = RunFolder(tmp_path / "new")
        assert not run.finished
        run.finish()
        assert run.finished

    def test_lists_the_tasks_that_were_deployed(self, tmp_path):
        run = RunFolder(tmp_path)
        assert run.tasks() == []
        for task in ("busi", "alzheimer mri"):
            write_json(run.deployed(task).config, {})
        assert run.tasks() == ["alzheimer mri", "busi"]


class TestWriting:
    def test_makes_the_folder_and_leaves_no_draft(self, tmp_path):
        write_text(tmp_path / "a" / "b.txt", "ä\n")
        assert (tmp_path / "a" / "b.txt").read_bytes() == "ä\n".encode()
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]

    def test_keeps_the_old_file_when_it_fails(self, tmp_path):
        path = tmp_path / "metrics.json"
        write_json(path, {"old": 1})
        with pytest.raises(RuntimeError, match="disk"), replacing(path) as draft:
            draft.write_text("half")
            raise RuntimeError("disk full")
        assert read_json(path) == {"old": 1}
        assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]

    def test_drafts_keep_the_suffix_that_writers_look_at(self, tmp_path):
        with replacing(tmp_path / "page.png") as draft:
            assert draft.suffix == ".png"
            draft.write_bytes(b"")

    def test_json_holds_null_where_a_number_is_undefined(self, tmp_path):
        path = tmp_path / "x.json"
        write_json(path, {"nan": math.nan, "inf": np.float32("inf"), "fine": np.float64(0.5)})
        assert read_json(path) == {"nan": None, "inf": None, "fine": 0.5}

    @pytest.mark.parametrize(
        ("value", "wanted"),
        [
            (np.int64(3), 3),
            (np.array([1.0, np.nan]), [1.0, None]),
            ((1, {"a": Path("b/c")}), [1, {"a": "b/c"}]),
            ({1: True}, {"1": True}),
            ({"b", "a"}, ["a", "b"]),
            (None, None),
        ],
    )
    def test_plain_values_are_what_json_knows(self, value, wanted):
        assert plain(value) == wanted
        json.dumps(plain(value), allow_nan=False)

    def test_metrics_come_back_as_they_were(self, tmp_path):
        metrics = {"test": {"ct": {"auroc": {"value": 0.9, "low": None, "high": 1.0}}}}
        write_metrics(tmp_path / "metrics.json", metrics)
        assert read_metrics(tmp_path / "metrics.json") == metrics


class TestLog:
    def test_is_empty_before_the_first_line(self, tmp_path):
        assert read_jsonl(tmp_path / "log.jsonl") == []

    def test_lines_come_back_in_order(self, tmp_path):
        for epoch in range(3):
            append_jsonl(tmp_path / "log.jsonl", {"epoch": epoch, "loss": math.nan})
        assert read_jsonl(tmp_path / "log.jsonl") == [
            {"epoch": epoch, "loss": None} for epoch in range(3)
        ]

    @pytest.mark.parametrize("torn", ['{"epoch": 1, "lo', "12", '{"epoch": 1}'])
    def test_forgets_a_line_that_a_kill_tore(self, tmp_path, torn):
        path = tmp_path / "log.jsonl"
        append_jsonl(path, {"epoch": 0})
        with path.open("a") as file:
            file.write(torn)
        assert read_jsonl(path) == [{"epoch": 0}]
        append_jsonl(path, {"epoch": 2})
        assert read_jsonl(path) == [{"epoch": 0}, {"epoch": 2}]

    def test_starts_anew_after_a_first_line_was_torn(self, tmp_path):
        path = tmp_path / "log.jsonl"
        path.write_text('{"epo')
        append_jsonl(path, {"epoch": 0})
        assert read_jsonl(path) == [{"epoch": 0}]

    def test_can_be_cut_back_to_a_checkpoint(self, tmp_path):
        path = tmp_path / "log.jsonl"
        write_jsonl(path, [{"epoch": 0}, {"epoch": 1}])
        write_jsonl(path, [line for line in read_jsonl(path) if line["epoch"] < 1])
        assert read_jsonl(path) == [{"epoch": 0}]


class TestPredictions:
    def test_come_back_bit_for_bit(self, tmp_path):
        path = tmp_path / "predictions.csv"
        write_predictions(path, [table()])
        (read,) = read_predictions(path)
        assert_same(read, table())

    def test_tasks_keep_their_own_classes_in_their_own_order(self, tmp_path):
        path = tmp_path / "predictions.csv"
        tables = [
            table("a", "validation", ("normal", "sick")),
            table("a", "test", ("normal", "sick")),
            table("b", "test", ("sick", "a,b/c", "normal")),
        ]
        write_predictions(path, tables)
        for one, other in zip(read_predictions(path), tables, strict=True):
            assert_same(one, other)

    def test_say_the_classes_by_name(self, tmp_path):
        path = tmp_path / "predictions.csv"
        write_predictions(path, [table()])
        header, first, *_ = path.read_text().splitlines()
        assert header == "task,split,sample,group,target,predicted,p:ct/COVID,p:ct/other"
        predicted = ("COVID", "other")[table().predicted[0]]
        assert first.startswith(f"ct,test,{0:016x},0,") and f",{predicted},0." in first

    def test_a_file_without_rows_holds_no_table(self, tmp_path):
        write_predictions(tmp_path / "p.csv", [])
        assert read_predictions(tmp_path / "p.csv") == []


def test_importing_results_brings_no_torch():
    code = "import sys, medistill.results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
