"""What an analysis is made of: subjects, features, planes, pictures, costs."""

import os
import warnings
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as Terminal
from torch.testing import assert_close

from medistill.analysis.cost import cost
from medistill.data.opening import Opened
from medistill.errors import UserError
from medistill.models.deployed import FORMAT
from medistill.results import RunFolder, write_json, write_text
from medistill.runs import analyze, bills, experts, features, planes
from medistill.runs.console import Console
from medistill.runs.experts import Panel
from medistill.runs.overlays import choose
from medistill.runs.subjects import Looked, Subject, images_of
from tests.tiny import SIZE, tiny_student
from tests.trained import Phantoms

from .opened import open_breast

CPU, QUIET = torch.device("cpu"), Console(quiet=True)


@pytest.fixture(scope="module")
def opened(phantoms: Phantoms) -> Opened:
    return open_breast(phantoms)


def looked(opened: Opened, *subjects: Subject, split: str = "test") -> Looked:
    classes = opened.dataset.task.classes
    return Looked("breast", classes, split, opened, subjects, subjects[-1])


def subject(name: str, width: int = 6, answers: bool = True) -> Subject:
    return Subject(name, tiny_student(width).eval(), answers)


class TestSubjects:
    def test_rows_are_those_with_a_label_in_an_order_that_no_name_decides(
        self, opened: Opened
    ) -> None:
        targets = opened.dataset.targets.copy()
        unlabelled = opened.dataset.splits["test"][3]
        targets[unlabelled] = -1
        some = replace(opened, dataset=replace(opened.dataset, targets=targets))
        rows = looked(some, subject("a")).rows
        assert len(rows) == 17
        assert unlabelled not in rows
        digests = [opened.digests[row] for row in rows]
        assert digests == sorted(digests)

    def test_images_have_three_channels_from_nought_to_one(self, opened: Opened) -> None:
        images = images_of(opened, [0, 5])
        assert images.shape == (2, 3, 32, 32)
        assert 0 <= images.min() < images.max() <= 1
        assert torch.equal(images[:, 0], images[:, 2])

    def test_who_does_not_answer_is_asked_for_features_alone(self, opened: Opened) -> None:
        (mute,) = features.see(looked(opened, subject("mute", answers=False)), CPU, QUIET)
        assert mute.logits is None
        assert mute.features.shape == (18, 6)


class TestFeatures:
    def test_a_network_is_like_itself_and_scales_are_those_of_run_and_teacher(
        self, opened: Opened
    ) -> None:
        what = looked(opened, subject("teacher", 8), subject("run"))
        found = features.compare(what, features.see(what, CPU, QUIET))
        assert found is not None
        matrix = torch.tensor(found["cka"])
        assert_close(matrix.diagonal(), torch.ones(2))
        assert_close(matrix, matrix.T)
        assert found["images"] == 18
        assert np.shape(found["scales"]["cka"]) == (2, 2)
        assert (found["scales"]["rows"], found["scales"]["columns"]) == ("run", "teacher")

    def test_without_a_teacher_there_are_no_scales(self, opened: Opened) -> None:
        what = looked(opened, subject("run"))
        found = features.compare(what, features.see(what, CPU, QUIET))
        assert found is not None
        assert found["scales"] is None

    def test_of_too_few_images_nothing_is_said(self, opened: Opened) -> None:
        few = {**opened.dataset.splits, "test": opened.dataset.splits["test"][:3]}
        what = looked(replace(opened, dataset=replace(opened.dataset, splits=few)), subject("run"))
        assert features.compare(what, features.see(what, CPU, QUIET)) is None


class TestPlanes:
    @given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 2**16))
    def test_scores_are_shares_with_an_interval_around_them_even_of_one_plane(
        self, count: int, side: int, seed: int
    ) -> None:
        draw = torch.Generator().manual_seed(seed)
        a, b = torch.randint(3, (2, count, side, side), generator=draw)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = planes._score(a, b)
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
        assert found == planes._score(b, a)
        assert planes._score(a, a)["value"] == 1
        if count == 1:
            assert (found["low"], found["high"]) == (0, 1), "one plane says nothing of another"


class TestPictures:
    @given(
        st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 2), st.floats(0.4, 1)), min_size=1),
        st.integers(0, 12),
    )
    def test_as_many_as_asked_each_once_and_none_without_a_label(
        self, answers: list[tuple[int, int, float]], count: int
    ) -> None:
        targets = np.array([target for target, _, _ in answers])
        sure = np.zeros((len(answers), 3), np.float32)
        for place, (_, called, how) in enumerate(answers):
            sure[place, called] = how
        chosen = choose(targets, sure, count)
        assert len(chosen) == len(set(chosen)) == min(count, int((targets >= 0).sum()))
        assert (targets[chosen] >= 0).all()
        right = sure.argmax(1)[chosen] == targets[chosen]
        assert not (np.diff(right.astype(int)) > 0).any(), "right ones come first"


class TestExperts:
    def test_a_run_that_is_called_teacher_is_a_run(self, opened: Opened, tmp_path: Path) -> None:
        panel = Panel("teacher", {"breast": tiny_student().eval()}, {"breast": 1.0})
        found = experts._overlays([panel], {"breast": opened}, "test", 2, tmp_path, CPU, QUIET)
        assert found["breast"]["names"] == ["teacher"]
        assert len(list((tmp_path / "experts" / "1").glob("*.png"))) == 2

    def test_its_cost_stands_beside_that_of_the_model_that_taught(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path / "teacher")
        write_json(run.cost, {"teacher": {"macs": 9}, "student": {"macs": 1}})
        other = RunFolder(tmp_path / "teacher-2")
        write_json(other.cost, {"teacher": {"macs": 9}, "student": {"macs": 2}})
        found = [(line["name"], line["macs"]) for line in experts.costs([run, other])]
        assert found == [("teacher", 9), ("teacher, one task", 1), ("teacher-2, one task", 2)]

    def test_another_teacher_is_named_after_its_run(self, tmp_path: Path) -> None:
        for name, macs in (("a", 9), ("b", 8)):
            write_json(RunFolder(tmp_path / name).cost, {"teacher": {"macs": macs}})
        runs = [RunFolder(tmp_path / name) for name in "ab"]
        assert [line["name"] for line in experts.costs(runs)] == ["teacher", "teacher of b"]

    def test_networks_are_alike_where_every_number_of_their_encoders_is(self) -> None:
        one, two = tiny_student(), tiny_student()
        two.encoder.load_state_dict(one.encoder.state_dict())
        ones = {"a": 1.0, "b": 1.0}
        assert Panel("x", {"a": one, "b": two}, ones).alike
        with torch.no_grad():
            next(iter(two.encoder.buffers())).add_(1)
        assert not Panel("x", {"a": one, "b": two}, ones).alike

    @pytest.mark.parametrize(
        ("tasks", "several"),
        [([["a", "b"], ["a", "b"]], True), ([["a"], ["a"]], False), ([["a", "b"], ["a"]], False)],
    )
    def test_runs_of_the_same_several_tasks_alone_are_looked_at_together(
        self, tmp_path: Path, tasks: list[list[str]], several: bool
    ) -> None:
        runs = [RunFolder(tmp_path / str(number)) for number in range(len(tasks))]
        for run, names in zip(runs, tasks, strict=True):
            for name in names:
                write_json(run.deployed(name).config, {})
        assert experts.several_tasks(runs) is several


def test_latency_is_taken_over_where_the_work_is_the_same_and_only_there() -> None:
    own = cost(tiny_student(), (3, SIZE, SIZE)).as_dict()
    first = {**own, "latency_ms_p50": 1.0, "latency_ms_p95": 2.0, "ratio": 3.0}
    same = bills._cost(tiny_student(classes=7), SIZE, first)
    assert (same["latency_ms_p50"], same["latency_ms_p95"]) == (1.0, 2.0)
    assert "ratio" not in same
    assert set(bills._cost(tiny_student(9), SIZE, first)) == set(own)


class TestPlace:
    def test_below_a_file_nothing_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for place in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
            with pytest.raises(UserError, match=r"/file is a file\. Choose another --out\.$"):
                analyze.analyze([tmp_path], out=place, console=QUIET)

    def test_a_folder_that_is_read_only_is_refused_before_any_work(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
        with pytest.raises(UserError, match=r" cannot be written\. Choose another --out\.$"):
            analyze.analyze([tmp_path], out=tmp_path / "a" / "b", console=QUIET)
        assert not (tmp_path / "a").exists()

    def test_a_run_that_outlines_organs_is_refused_with_what_to_read_instead(
        self, tmp_path: Path
    ) -> None:
        run = RunFolder(tmp_path / "run")
        write_json(run.deployed("liver").config, {"format": FORMAT, "kind": "segmentation"})
        with pytest.raises(UserError, match="outlines organs in volumes; .* Its report shows"):
            analyze.analyze([run.path], out=tmp_path / "o", console=QUIET)

    def test_runs_that_a_page_compared_before_stay_on_it_unless_they_are_gone(
        self, tmp_path: Path
    ) -> None:
        runs = [RunFolder(tmp_path / name) for name in ("own", "new", "known", "unfinished")]
        for run in runs[:3]:
            run.finish()
        known = {str(runs[n].path): {} for n in (2, 3, 1)} | {str(tmp_path / "gone"): {}}
        write_json(runs[0].differences, known)
        assert analyze._against(runs[:2]) == [runs[1].path, runs[2].path]


class TestBar:
    def console(self) -> tuple[Console, StringIO]:
        console, said = Console(), StringIO()
        console.terminal = Terminal(file=said, force_terminal=True, width=120)
        return console, said

    def test_on_a_terminal_a_stage_is_a_bar_with_its_note(self) -> None:
        console, said = self.console()
        with console.track("training", 4, begun=1) as advance:
            advance(4, "loss [0.5]")
        assert "training" in said.getvalue()
        assert "4/4" in said.getvalue()

    def test_a_stop_gives_the_terminal_back(self) -> None:
        console, said = self.console()
        with pytest.raises(KeyboardInterrupt), console.track("training", 4):
            raise KeyboardInterrupt
        assert said.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is there again"


def test_a_stage_of_nothing_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().track("decoding", 0, pause=0.0) as advance:
        advance(0, "")
    assert capsys.readouterr().out == "decoding 0/0, 0 s\n"


def test_the_processor_is_told_even_where_no_file_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from medistill.runs import environment

    write_text(tmp_path / "cpuinfo", "processor\t: 0\nBogoMIPS\t: 50.00\n")
    for place in (tmp_path / "cpuinfo", tmp_path / "nowhere"):
        monkeypatch.setattr("builtins.open", lambda *_, place=place, **__: place.open())
        monkeypatch.setattr(environment.platform, "processor", lambda: "aarch64")
        assert environment._processor() == "aarch64"
