"""Runs side by side: who may begin when, what a stop leaves, and what is told of a failure."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medistill.errors import UserError
from medistill.results import RunFolder, write_text
from medistill.runs.comparing import running
from medistill.runs.comparing.grid import Cell, Grid, wanted
from medistill.runs.comparing.running import Runs, in_processes
from medistill.runs.console import Console

from .made import TUNED, grid, leave_run

QUIET = Console(quiet=True)


class Attempt:
    """A run that ends when it has been looked at so often.

    Args:
        looks: How often.
        code: With which exit code.
        end: What it does last.
    """

    def __init__(self, looks: int, code: int, end: Callable[[], object]) -> None:
        self.looks, self.code, self.end = looks, code, end
        self.killed = self.waited = False

    def poll(self) -> int | None:
        self.looks -= 1
        if self.looks == 0:
            self.end()
        return self.code if self.looks <= 0 else None

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> int:
        assert self.killed, "it would be waited for without an end"
        self.waited = True
        return -9


class Fleet:
    """Begins such runs and remembers how many worked at once.

    Args:
        found: The grid that they are of.
        codes: Exit codes by a part of the name; 0 for others.
        looks: How long each works.
        stops_at: The run at whose beginning something happens.
        stop: What happens there.
    """

    def __init__(
        self,
        found: Grid,
        codes: dict[str, int] | None = None,
        looks: int = 3,
        stops_at: int = -1,
        stop: BaseException | None = None,
    ) -> None:
        self.cells = found
        self.codes, self.looks, self.stops_at, self.stop = codes or {}, looks, stops_at, stop
        self.attempts: dict[str, Attempt] = {}
        self.most = 0

    def __call__(self, recipe: Path, folder: Path, log: Path) -> Attempt:
        if len(self.attempts) == self.stops_at and self.stop:
            raise self.stop
        assert recipe.exists(), "a run begins with its recipe"
        name = folder.name
        code = next((code for part, code in self.codes.items() if part in name), 0)
        write_text(log, f"a step of {name}\nits disk is full\n\n")
        end = (lambda: None) if code else (lambda: self.leave(name))
        self.attempts[name] = Attempt(self.looks, code, end)
        self.most = max(self.most, sum(one.looks > 0 for one in self.attempts.values()))
        return self.attempts[name]

    def leave(self, name: str) -> None:
        merits = dict.fromkeys(self.attempts, 0.5)
        cell = next(cell for cell in wanted(self.cells, merits) if cell.name == name)
        leave_run(self.cells, cell)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "POLL_SECONDS", 0.0)


def runs(found: Grid, fleet: Any, jobs: int = 1, metric: str = "accuracy") -> Runs:
    return Runs(found, jobs, metric, QUIET, fleet)


class TestOrder:
    @pytest.mark.parametrize("jobs", [1, 3])
    def test_as_many_work_at_once_as_are_allowed(self, tmp_path: Path, jobs: int) -> None:
        found = grid(tmp_path, methods=["student_alone"], seeds=[0, 1, 2, 3])
        fleet = Fleet(found)
        runs(found, fleet, jobs).finish()
        assert fleet.most == jobs
        assert len(fleet.attempts) == 4

    def test_who_asks_the_same_teacher_waits_until_the_first_has_its_answers(
        self, tmp_path: Path
    ) -> None:
        found = grid(tmp_path, methods=["rd", "kd"], seeds=[0])
        fleet, begun = Fleet(found, looks=10), []

        def begin(recipe: Path, folder: Path, log: Path) -> Attempt:
            begun.append(folder.name.split("--")[3])
            taught = [a for name, a in fleet.attempts.items() if "no_teacher" not in name]
            if "no_teacher" not in folder.name and taught:
                assert all(one.looks <= 0 for one in taught)
            return fleet(recipe, folder, log)

        runs(found, begin, jobs=3).finish()
        assert begun[0] == "student_alone"
        assert sorted(begun[1:]) == ["logit_distillation", "reprogramming_distillation"]

    def test_once_its_answers_are_kept_the_others_begin_beside_it(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=["rd", "kd"], seeds=[0])
        fleet = Fleet(found, looks=10)

        def begin(recipe: Path, folder: Path, log: Path) -> Attempt:
            write_text(RunFolder(folder).probe, "answers")
            return fleet(recipe, folder, log)

        runs(found, begin, jobs=3).finish()
        assert fleet.most == 3

    def test_what_comes_after_a_run_that_failed_is_not_begun_and_says_whose_fault_it_is(
        self, tmp_path: Path
    ) -> None:
        variants = {"tuned": TUNED, "then": {"method": "kd", "after": "tuned"}}
        found = grid(tmp_path, variants=variants, seeds=[0])
        fleet = Fleet(found, codes={"--tuned--": 1})
        all_ = runs(found, fleet)
        all_.finish()
        assert not any("--then--" in name for name in fleet.attempts)
        why = {one.cell.split("--")[-2]: one.why for one in all_.failed}
        assert why["tuned"] == "its disk is full"
        assert why["then"].startswith("its teacher images--test_resnet--no_student--tuned--seed0")
        assert {cell.entry for cell in all_.finished()} == {
            "student_alone",
            "reprogramming_distillation",
        }


class TestStopped:
    @pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left")])
    def test_nothing_works_on_and_what_ended_is_taken_up(
        self, tmp_path: Path, stop: BaseException
    ) -> None:
        found = grid(tmp_path, methods=["student_alone"], seeds=[0, 1, 2, 3])
        fleet = Fleet(found, stops_at=3, stop=stop)
        with pytest.raises(type(stop)):
            runs(found, fleet, jobs=2).finish()
        left = [one for one in fleet.attempts.values() if one.looks > 0]
        assert left
        assert all(one.killed and one.waited for one in left)
        again = Fleet(found)
        runs(found, again).finish()
        ended = {name for name, one in fleet.attempts.items() if one.looks <= 0}
        assert ended
        assert set(again.attempts) == {cell.name for cell in wanted(found, {})} - ended

    def test_stages_are_found_again_where_the_comparison_was_moved_or_is_named_otherwise(
        self, tmp_path: Path
    ) -> None:
        asked = {"methods": ["kd"], "variants": {"late": {"after": "kd"}}, "seeds": [0]}
        there = grid(tmp_path / "there", **asked)
        for cell in wanted(there, {}):
            leave_run(there, cell)
        (tmp_path / "there").rename(tmp_path / "here")
        (tmp_path / "elsewhere").mkdir()
        for place in (tmp_path / "here", tmp_path / "elsewhere" / ".." / "here"):
            found = grid(place, **asked)
            fleet = Fleet(found)
            runs(found, fleet).finish()
            assert not fleet.attempts

    def test_a_folder_of_another_recipe_is_refused_and_named(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=["student_alone"], seeds=[0])
        (cell,) = wanted(found, {})
        run = leave_run(found, cell)
        write_text(run.recipe, run.recipe.read_text().replace("\n  seed: 0", "\n  seed: 7"))
        with pytest.raises(UserError, match=r"another recipe \(training.seed: 7 there, 0 here\)"):
            runs(found, Fleet(found)).finish()


class TestFailed:
    def words(self, tmp_path: Path, code: int) -> str:
        found = grid(tmp_path, methods=["student_alone"], seeds=[0])
        all_ = runs(found, Fleet(found, codes={"alone": code}))
        all_.finish()
        assert not all_.finished()
        return all_.failed[0].why

    def test_what_the_system_killed_is_told_apart_from_what_ended(self, tmp_path: Path) -> None:
        assert "killed (signal 9)" in self.words(tmp_path, -9)
        assert self.words(tmp_path, 1) == "its disk is full"

    def test_a_run_that_ends_well_without_a_result_is_a_failure_too(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=["student_alone"], seeds=[0])

        def begin(recipe: Path, folder: Path, log: Path) -> Attempt:
            return Attempt(1, 0, lambda: None)

        all_ = runs(found, begin)
        all_.finish()
        assert [one.why for one in all_.failed] == ["exit code 0"]

    @pytest.mark.parametrize(
        ("printed", "said"),
        [
            (None, "exit code 3"),
            (b"", "exit code 3"),
            (b"\n \n", "exit code 3"),
            (b"one\n  two \n\n", "two"),
            (b"caf\xe9\n", "caf\N{REPLACEMENT CHARACTER}"),
        ],
    )
    def test_last_words_are_the_last_line_with_anything_on_it(
        self, tmp_path: Path, printed: bytes | None, said: str
    ) -> None:
        log = tmp_path / "log.txt"
        if printed is not None:
            log.write_bytes(printed)
        assert running._last_words(log, 3) == said


class TestMerit:
    def cell(self, found: Grid) -> Cell:
        return wanted(found, {})[0]

    def test_is_what_the_checkpoint_was_chosen_by(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=["student_alone"])
        leave_run(found, self.cell(found), validation={"accuracy": 0.9, "balanced_accuracy": 0.6})
        assert runs(found, None)._merit(self.cell(found)) == 0.6

    def test_is_the_metric_of_the_comparison_where_nothing_chose(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=["student_alone"])
        training = {**found.base["training"], "select": "last"}
        last = Grid(**{**vars(found), "base": {**found.base, "training": training}})
        leave_run(last, self.cell(last), validation={"brier": 0.2})
        assert runs(last, None)._merit(self.cell(last)) == 0.5
        assert runs(last, None, metric="brier")._merit(self.cell(last)) == -0.2

    def test_of_an_undefined_metric_is_the_worst(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=["student_alone"])
        leave_run(found, self.cell(found), validation={"balanced_accuracy": None})
        assert runs(found, None)._merit(self.cell(found)) == float("-inf")


@pytest.mark.parametrize(
    ("jobs", "own", "threads"), [(1, None, None), (2, None, "4"), (16, None, "1"), (2, "3", "3")]
)
def test_runs_side_by_side_share_the_cores_unless_the_user_says_how_many(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
    own: str | None,
    threads: str | None,
) -> None:
    told: dict[str, Any] = {}

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, command: list[Any], **how: Any) -> None:
            told.update(how, command=command)
            self._child_created, self.returncode = False, 0

    monkeypatch.setattr(running, "cores", lambda: 8)
    monkeypatch.setattr(running.subprocess, "Popen", Noted)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    in_processes(jobs)(tmp_path / "r.yaml", tmp_path / "run", tmp_path / "log.txt")
    assert told["env"].get("OMP_NUM_THREADS") == threads
    assert told["env"]["PATH"] == os.environ["PATH"]
    assert told["command"][-2:] == [tmp_path / "r.yaml", tmp_path / "run"]
