"""A comparison from its recipe to its page; interrupted, taken up again, and with failures."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medistill.errors import Failure, UserError
from medistill.results import RunFolder, read_json, read_metrics
from medistill.runs import compare as module
from medistill.runs.compare import compare
from medistill.runs.console import Console
from tests.attempts import Here
from tests.report.reading import read
from tests.trained import Phantoms

from . import made
from .conftest import asked, recipe_file

QUIET = Console(quiet=True)
CELLS = {
    f"breast--{teacher}--test_efficientnet--{method}--seed{seed}"
    for teacher, method in (
        ("no_teacher", "student_alone"), ("test_resnet", "reprogramming_distillation"),
    )
    for seed in (0, 1)
}  # fmt: skip


@pytest.fixture
def copy(compared: Path, tmp_path: Path) -> Path:
    """The finished comparison where it may be changed, and lacks one of its runs."""
    out = Path(shutil.copytree(compared, tmp_path / "out"))
    shutil.rmtree(out / "cells" / "breast--no_teacher--test_efficientnet--student_alone--seed1")
    return out


class TestFinished:
    def test_each_cell_is_a_run_that_can_be_opened_alone(self, compared: Path) -> None:
        assert {path.name for path in (compared / "cells").iterdir()} == CELLS
        for name in CELLS:
            run = RunFolder(compared / "cells" / name)
            assert run.finished
            assert run.report.exists()

    def test_all_start_alike_and_see_the_same_images(self, compared: Path) -> None:
        runs = [RunFolder(compared / "cells" / name) for name in sorted(CELLS)]
        starts = {
            (run.path.name[-1], read_json(run.environment)["weights"]["student"]) for run in runs
        }
        assert len(starts) == 2, "one start for each seed"
        assert len({run.splits.read_text() for run in runs}) == 1

    def test_every_number_is_in_the_table_once(self, compared: Path) -> None:
        with (compared / "comparison.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        keys = [(row["run"], row["split"], row["metric"]) for row in rows]
        assert len(keys) == len(set(keys))
        assert {row["run"] for row in rows} == CELLS
        own = next(name for name in CELLS if "reprogramming" in name)
        found = read_metrics(compared / "cells" / own / "metrics.json")["test"]["breast"]
        told = {r["metric"]: r["value"] for r in rows if (r["run"], r["split"]) == (own, "test")}
        assert float(told["accuracy"]) == found["accuracy"]["value"]
        costs = {row["metric"] for row in rows if not row["split"]}
        assert {"parameters", "latency_ms_p50", "step_seconds", "peak_bytes", "seconds"} <= costs

    def test_the_account_has_both_entries_tested_against_each_other(self, compared: Path) -> None:
        (block,) = read_json(compared / "comparison.json")["standings"]
        assert block["images"] == {"train": 30, "validation": 15, "test": 18}
        rows = {row["label"]: row for row in block["rows"]}
        assert set(rows) == {"student alone", "RD"}
        assert rows["RD"]["alone"]["rival"] == "student alone"
        assert 0 < rows["RD"]["alone"]["corrected"] <= 1
        assert rows["RD"]["metrics"]["accuracy"]["seeds"] == 2
        assert 0 < block["probe"]["accuracy"]["mean"] <= 1

    def test_the_page_tells_who_wins_what_is_absent_and_what_stays_within_the_budget(
        self, compared: Path
    ) -> None:
        said = read(compared / "comparison.html").text
        assert "RD" in said
        assert "busi: there is nothing at" in said
        assert "Its authors give it out." in said
        assert "The best within 5 ms:" in said

    def test_what_stays_within_the_budget_is_said_and_lies_in_the_files(
        self, compared: Path
    ) -> None:
        best = read_json(compared / "comparison.json")["budget"]["best"]["breast"]
        assert (compared / best["folder"] / "metrics.json").exists()
        assert best["folder"] in (compared / "comparison.md").read_text()
        said = (compared.parent / "said.txt").read_text()
        assert f"The best on breast within 5 ms: {best['student']} by {best['label']}, " in said
        assert best["folder"] in said

    def test_tables_for_papers_lie_beside_it(self, compared: Path) -> None:
        assert "| data | student |" in (compared / "comparison.md").read_text()
        assert r"\label{tab:methods}" in (compared / "comparison.tex").read_text()


class TestTakenUp:
    def test_what_is_finished_is_not_run_again_and_more_seeds_are_added(
        self, copy: Path, phantoms: Phantoms, tmp_path: Path
    ) -> None:
        here = Here()
        recipe = asked(tmp_path, phantoms, seeds=[0, 1, 2])
        compare(recipe, copy, console=QUIET, begin=here)
        assert [name.partition("test_efficientnet--")[2] for name in here.begun] == [
            "student_alone--seed1",
            "student_alone--seed2",
            "reprogramming_distillation--seed2",
        ]

    def test_what_failed_is_named_while_the_rest_goes_on_and_is_tried_again(
        self, copy: Path, phantoms: Phantoms, tmp_path: Path
    ) -> None:
        recipe, here = asked(tmp_path, phantoms, seeds=[0, 1, 2]), Here("student_alone")
        with pytest.raises(Failure, match=r"2 runs failed \(breast--no_teacher.*seed1, .*seed2\)"):
            compare(recipe, copy, console=QUIET, begin=here)
        assert here.begun[-1].endswith("reprogramming_distillation--seed2")
        said = read(copy / "comparison.html").text
        assert "seed1: its disk is full" in said
        again = Here()
        compare(asked(tmp_path, phantoms), copy, console=QUIET, begin=again)
        assert len(again.begun) == 1
        assert "its disk is full" not in (copy / "comparison.html").read_text()

    def test_another_recipe_in_the_same_folder_is_refused_before_anything_runs(
        self, copy: Path, phantoms: Phantoms, tmp_path: Path
    ) -> None:
        recipe = asked(tmp_path, phantoms)
        other = recipe.model_copy(
            update={"training": recipe.training.model_copy(update={"epochs": 2})}
        )
        here = Here()
        with pytest.raises(UserError, match=r"another recipe \(training.epochs: 1 there, 2 here\)"):
            compare(other, copy, console=QUIET, begin=here)
        assert not here.begun

    def test_killed_it_leaves_no_process_behind_and_goes_on_where_it_was(
        self, phantoms: Phantoms, tmp_path: Path
    ) -> None:
        recipe, out = recipe_file(tmp_path, phantoms), tmp_path / "out"
        command = [
            sys.executable,
            "-m",
            "medistill",
            "compare",
            recipe,
            "--out",
            out,
            "--jobs",
            "2",
        ]
        with (tmp_path / "said.txt").open("w") as said:
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        try:
            while not list(out.glob("cells/*/recipe.yaml")):
                assert process.poll() is None, (tmp_path / "said.txt").read_text()
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if Path("/proc").is_dir():
            deadline = time.monotonic() + 20
            while workers_in(out) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not workers_in(out)
        compare(asked(tmp_path, phantoms), out, console=QUIET, begin=Here())
        assert all(RunFolder(path).finished for path in (out / "cells").iterdir())
        assert (out / "comparison.html").exists()


def workers_in(out: Path) -> list[str]:
    """Processes that train below a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes()
            except OSError:  # it ended meanwhile
                continue
            if re.search(rb"comparing\.cell\x00" + os.fsencode(out), line):
                found.append(process.name)
    return found


def test_the_page_names_whose_student_begins_after_a_stage_without_it(tmp_path: Path) -> None:
    several = made.grid(tmp_path, methods=["rd", "direct"], seeds=[0])
    (told,) = module._staged(several).items()
    assert told == ("with a stage of as many epochs before the student's:", "direct reprogramming")
    assert not module._staged(made.grid(tmp_path, methods=["rd"], seeds=[0]))
