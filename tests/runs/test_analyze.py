"""`analyze` from a finished run to its pictures, its numbers and a section of its page."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from medistill.analysis.gradcam import grad_cam
from medistill.cli.main import run
from medistill.errors import UserError
from medistill.models.deployed import FORMAT
from medistill.models.teachers import save_features
from medistill.recipe import dump, read_recipe
from medistill.results import RunFolder, read_json, write_json, write_text
from medistill.runs import overlays, planes
from medistill.runs.analyze import Depth, _against, analyze
from medistill.runs.console import Console
from medistill.runs.overlays import choose
from medistill.runs.planes import Survey, divide, lay
from medistill.runs.preparing import prepare
from medistill.runs.shipping import batches
from medistill.runs.subjects import Subject, gather, images_of
from tests.trained import FILE_MARK, PATIENT_MARK, ROOT_MARK, Finished, Phantoms, write_recipe

LITTLE = Depth(triplets=30, grid=3, plot=5, overlays=5)
QUICK = ["--triplets", "6", "--grid", "3", "--plot", "4", "--overlays", "2"]
CPU, QUIET = torch.device("cpu"), Console(quiet=True)


@pytest.fixture
def first(finished: Finished, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(finished.path, tmp_path / "first")))


@pytest.fixture
def second(finished: Finished, tmp_path: Path) -> RunFolder:
    return other(finished, tmp_path / "second")


@pytest.fixture(scope="module")
def whole(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with all that an analysis leaves, another one beside it."""
    place = tmp_path_factory.mktemp("analysed")
    first = RunFolder(Path(shutil.copytree(finished.path, place / "first")))
    second = other(finished, place / "second")
    assert analyze([first.path, second.path], depth=LITTLE, console=QUIET) == first.report
    return first


def other(finished: Finished, path: Path) -> RunFolder:
    """The same run with the opposite head, so that the two never agree."""
    folder = RunFolder(Path(shutil.copytree(finished.path, path)))
    file = folder.deployed("breast").weights
    state = load_file(file)
    state |= {name: -state[name] for name in ("head.weight", "head.bias")}
    save_file(state, file, {"format": "pt"})
    return folder


def change(run_folder: RunFolder, **values: Any) -> None:
    """Another config of the deployed network."""
    config = run_folder.deployed("breast").config
    write_json(config, {**read_json(config), **values})


def taught_by(run_folder: RunFolder, phantoms: Phantoms, teacher: str) -> None:
    """Another teacher, as the recipe says."""
    write_recipe(run_folder.recipe, phantoms, teacher={"name": teacher})
    write_text(run_folder.recipe, dump(read_recipe(run_folder.recipe)))


class TestWhole:
    def test_numbers_pictures_and_a_section_of_the_page(self, whole: RunFolder) -> None:
        found = read_json(whole.analysis)
        names = ["teacher (probe)", "first", "second"]
        assert found["boundaries"]["names"] == found["similarity"]["names"] == names
        scores = np.array([[s["value"] for s in row] for row in found["boundaries"]["scores"]])
        assert np.array_equal(scores, scores.T)
        assert scores.diagonal().tolist() == [1, 1, 1]
        assert scores[1, 2] == 0
        cka = np.array(found["similarity"]["cka"])
        assert cka.diagonal() == pytest.approx([1, 1, 1])
        assert cka[1, 2] == pytest.approx(1)  # another head on the same features
        assert len(found["overlays"]["images"]) == 5
        for file in ("boundaries.png", "similarity.png", "overlays/001.png", "overlays/005.png"):
            with Image.open(whole.analysis.parent / file) as image:
                image.load()
        text = whole.report.read_text(encoding="utf-8")
        for heading in ("Seeing why", "Where it looked", "Decision boundaries", "Similarity of"):
            assert heading in text

    def test_nothing_names_a_patient_or_a_file_of_the_data(self, whole: RunFolder) -> None:
        for file in whole.analysis.parent.rglob("*"):
            for mark in (FILE_MARK, PATIENT_MARK, ROOT_MARK):
                assert mark not in str(file.relative_to(whole.path))
                assert file.is_dir() or mark.encode() not in file.read_bytes()

    def test_elsewhere_the_run_stays_as_it_is(
        self, first: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = {file: file.stat().st_mtime_ns for file in first.path.rglob("*")}
        out = tmp_path / "elsewhere"
        assert run(["analyze", str(first.path), "--out", str(out), *QUICK]) == 0
        assert {file: file.stat().st_mtime_ns for file in first.path.rglob("*")} == before
        assert "Seeing why" in (out / "report.html").read_text(encoding="utf-8")
        said = capsys.readouterr().out
        assert "6 planes of 3 x 3 points, one of 4 x 4; 140 images to classify, about 1 min" in said

    def test_parts_may_be_left_out(self, first: RunFolder) -> None:
        analyze([first.path], depth=Depth(triplets=0, overlays=0), console=QUIET)
        assert set(read_json(first.analysis)) == {"task", "split", "classes", "similarity"}

    @pytest.mark.parametrize("kept", [["teacher (probe)", "second"], []])
    def test_a_network_that_reads_no_map_is_left_out_of_the_pictures(
        self,
        first: RunFolder,
        second: RunFolder,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        kept: list[str],
    ) -> None:
        turn = iter(["teacher (probe)", "first", "second"])

        def some(*given: Any) -> torch.Tensor | None:
            return grad_cam(*given) if next(turn) in kept else None

        monkeypatch.setattr(overlays, "grad_cam", some)
        analyze([first.path, second.path], depth=Depth(triplets=0, overlays=2))
        said = capsys.readouterr().out
        assert "first is left out of the overlays: its head reads no map." in said
        found = read_json(first.analysis)["overlays"]
        assert found["names"] == kept
        assert len(found["images"]) == (2 if kept else 0)
        page = first.report.read_text(encoding="utf-8")
        assert ("Where it looked" in page) == bool(kept)

    def test_a_page_that_compared_runs_still_does(
        self, first: RunFolder, second: RunFolder
    ) -> None:
        assert run(["report", str(first.path), "--against", str(second.path)]) == 0
        analyze([first.path], depth=Depth(triplets=0, overlays=0), console=QUIET)
        assert "Against" in first.report.read_text(encoding="utf-8")


class TestSlips:
    def refused(self, *arguments: object) -> int:
        return run(["analyze", *map(str, arguments), *QUICK])

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"classes": ["a", "b", "c"]}, "its classes are a, b, c, not normal, smooth, spiculat"),
            ({"size": 64}, "its images are of 64 pixels, not 32"),
        ],
    )
    def test_runs_of_other_classes_or_sizes_do_not_compare(
        self, finished: Finished, second: RunFolder, values: dict[str, Any], said: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        change(second, **values)
        assert self.refused(finished.path, second.path) == 2
        assert f"second does not compare with {finished.path}: {said}" in capsys.readouterr().err

    def test_runs_with_other_test_images_do_not_compare(
        self, finished: Finished, second: RunFolder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        splits = read_json(second.splits)
        images = splits["breast"]["images"]
        tested = [digest for digest, parts in images.items() if parts == ["test"]]
        images[tested[0]] = ["train"]
        write_json(second.splits, splits)
        assert self.refused(finished.path, second.path) == 2
        assert "of the test images 17 of 18 here and 17 there are shared" in capsys.readouterr().err

    def test_a_run_that_is_named_twice_or_not_finished(
        self, finished: Finished, second: RunFolder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.refused(finished.path, finished.path) == 2
        assert "is named twice" in capsys.readouterr().err
        (second.path / "finished").unlink()
        assert self.refused(finished.path, second.path) == 2
        assert "is no finished run" in capsys.readouterr().err

    def test_a_split_or_a_folder_that_is_none(
        self, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.refused(finished.path, "--split", "nonsense") == 2
        assert "no image in the split 'nonsense'" in capsys.readouterr().err
        (tmp_path / "file").touch()
        assert self.refused(finished.path, "--out", tmp_path / "file") == 2
        assert "is a file. Choose another --out." in capsys.readouterr().err


class TestTeacher:
    def test_probe_says_what_it_said_in_training(
        self, finished: Finished, first: RunFolder
    ) -> None:
        looked = gather([RunFolder(finished.path)], None, "test", CPU, QUIET)
        teacher, student = looked.subjects
        assert (teacher.name, student.name) == ("teacher (probe)", finished.path.name)
        recipe = read_recipe(finished.recipe)
        job = prepare(recipe, first, CPU, QUIET)
        assert job.teaching is not None
        for batch in batches(looked.opened, "test"):
            said, wanted = teacher.ask(batch), job.teaching.asked(batch)
            assert said.logits is not None
            assert wanted.logits is not None
            assert_close(said.logits, wanted.logits)

    def test_a_run_that_knows_the_classes_answers_with_its_own_head(
        self, first: RunFolder, second: RunFolder, phantoms: Phantoms
    ) -> None:
        taught_by(first, phantoms, f"run:{second.path}")
        (teacher, _) = gather([first], None, "test", CPU, QUIET).subjects
        own = gather([second], None, "test", CPU, QUIET).first
        assert teacher.name == "teacher"
        assert teacher.network is not None
        assert own.network is not None
        images = torch.rand(3, 3, 32, 32)
        assert_close(teacher.network(images).logits, own.network(images).logits)

    def test_one_whose_weights_are_gone_is_left_out_with_a_word(
        self, first: RunFolder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_text(
            first.recipe, first.recipe.read_text().replace("weights: random", "weights: gone")
        )
        looked = gather([first], None, "test", CPU, Console())
        assert [subject.name for subject in looked.subjects] == ["first"]
        assert (
            "the teacher of first is left out: teacher weights: no file at gone"
            in capsys.readouterr().out
        )

    def test_a_file_of_features_is_compared_by_its_features_alone(
        self, first: RunFolder, phantoms: Phantoms, tmp_path: Path
    ) -> None:
        paths = sorted(path.name for path in phantoms.breast.glob("*.png"))
        save_features(tmp_path / "t.safetensors", torch.randn(len(paths), 7), paths)
        taught_by(first, phantoms, f"features:{tmp_path / 't.safetensors'}")
        analyze([first.path], depth=LITTLE, console=QUIET)
        found = read_json(first.analysis)
        assert found["similarity"]["names"] == ["teacher", "first"]
        assert found["similarity"]["scales"] is None
        assert found["boundaries"]["names"] == found["overlays"]["names"] == ["first"]


class TestAgain:
    def divided(self, run_folder: RunFolder, folder: Path, **changes: int) -> dict[str, Any]:
        looked = gather([run_folder], None, "test", CPU, QUIET)
        sizes = {"count": 25, "grid": 3, "plot": 5, **changes}
        return divide(*lay(looked, **sizes, folder=folder, device=CPU), Console())

    def test_what_was_classified_before_a_stop_is_not_classified_again(
        self, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[int] = []
        call, folder = Survey._call, RunFolder(finished.path)

        def until_third(survey: Survey, subject: Subject, numbers: Sequence[int]) -> torch.Tensor:
            if len(asked) == 2:
                asked.clear()
                raise KeyboardInterrupt
            asked.append(len(numbers))
            return call(survey, subject, numbers)

        monkeypatch.setattr(planes, "KEPT", 10)
        monkeypatch.setattr(Survey, "_call", until_third)
        with pytest.raises(KeyboardInterrupt):
            self.divided(folder, tmp_path / "parts")
        monkeypatch.setattr(
            Survey, "_call", lambda *given: asked.append(len(given[2])) or call(*given)
        )
        resumed = self.divided(folder, tmp_path / "parts")
        # The rest of the teacher's planes, the one that is drawn, then the student's.
        assert asked == [5, 1, 10, 10, 5, 1]
        assert resumed == self.divided(folder, tmp_path / "other")

    def test_a_damaged_part_is_found_anew_and_other_planes_are_other_parts(
        self, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run_folder, folder = RunFolder(finished.path), tmp_path / "parts"

        def said(**changes: int) -> str:
            self.divided(run_folder, folder, count=6, **changes)
            told: str = capsys.readouterr().out
            return told

        assert "; 158 images to classify" in said()
        assert "; 0 images to classify, all known from before" in said()
        for part in folder.iterdir():
            part.write_bytes(part.read_bytes()[:-20])
        assert "; 158 images to classify" in said()
        assert "; 48 images to classify" in said(grid=2)  # and the plane that was drawn is known


def test_images_are_those_that_a_loader_shows(finished: Finished) -> None:
    looked = gather([RunFolder(finished.path)], None, "test", CPU, QUIET)
    (batch,) = batches(looked.opened, "test")
    assert torch.equal(images_of(looked.opened, batch.samples.tolist()), batch.images)


class TestChoice:
    targets = np.array([0, 0, 0, 1, 1, 1, 1, -1])
    sure = np.array([.9, .8, .3, .4, .2, .1, .95, .99], np.float32)  # of class 0  # fmt: skip

    def chosen(self, count: int) -> list[int]:
        return choose(self.targets, np.stack([self.sure, 1 - self.sure], 1), count)

    def test_classes_take_turns_the_surest_first_and_half_are_mistakes(self) -> None:
        # Right are 0, 1 (of class 0) and 3, 4, 5; wrong are 2 and 6.
        assert self.chosen(4) == [0, 5, 2, 6]

    def test_where_mistakes_are_few_right_ones_fill_their_place(self) -> None:
        assert self.chosen(6) == [0, 5, 1, 4, 2, 6]

    def test_no_more_than_there_are(self) -> None:
        assert sorted(self.chosen(40)) == [0, 1, 2, 3, 4, 5, 6]


class TestPlace:
    def test_below_a_file_nothing_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for place in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
            with pytest.raises(UserError, match=r"/file is a file\. Choose another --out\.$"):
                analyze([tmp_path], out=place, console=QUIET)

    def test_a_folder_that_is_read_only_is_refused_before_any_work(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
        with pytest.raises(UserError, match=r" cannot be written\. Choose another --out\.$"):
            analyze([tmp_path], out=tmp_path / "a" / "b", console=QUIET)
        assert not (tmp_path / "a").exists()

    def test_a_run_that_outlines_organs_is_refused_with_what_to_read_instead(
        self, tmp_path: Path
    ) -> None:
        run = RunFolder(tmp_path / "run")
        write_json(run.deployed("liver").config, {"format": FORMAT, "kind": "segmentation"})
        with pytest.raises(
            UserError, match=r"outlines organs in volumes; `analyze` looks .* Its report shows"
        ):
            analyze([run.path], out=tmp_path / "o", console=QUIET)

    def test_runs_that_a_page_compared_before_stay_on_it_unless_they_are_gone(
        self, tmp_path: Path
    ) -> None:
        runs = [RunFolder(tmp_path / name) for name in ("own", "new", "known", "unfinished")]
        for each in runs[:3]:
            each.finish()
        known: dict[str, object] = {str(runs[n].path): {} for n in (2, 3, 1)} | {
            str(tmp_path / "gone"): {}
        }
        write_json(runs[0].differences, known)
        assert _against(runs[:2]) == [runs[1].path, runs[2].path]
