"""From a recipe to segmenters: names, runs, and what does not fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.models.deployed_segmenters import save_segmenter
from medistill.models.segmenters.base import Answering
from medistill.recipe import Recipe, TeacherSource, validate
from medistill.runs.console import Console
from medistill.runs.volumes.building import build_student, build_teacher
from medistill.runs.volumes.preparing import _warn_of_released
from tests.data.volumes.test_opening import opened, write_tilted
from tests.models.segmenters import published
from tests.models.segmenters.published import SMALL, filled, wrapped
from tests.tiny_volumes import OPTIONS, WORDS, tiny_segmenter
from tests.volumes import write_msd


def recipe_of(**student: Any) -> Recipe:
    return validate({"data": {"root": "scans"}, "student": student})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run on two regions."""
    network = tiny_segmenter()
    for task, classes in {"brain": WORDS[:2], "heart": WORDS[2:]}.items():
        config = {"task": task, "shared_encoder": True}
        save_segmenter(Answering(network, classes), tmp_path / "run/deployed" / task, config)
    return tmp_path / "run"


def test_a_run_teaches_whatever_it_knows_and_keeps_its_own_order(run: Path) -> None:
    known = build_teacher(TeacherSource(name=f"run:{run}"), ("ventricle", "head"))
    assert known.segmenter.vocabulary == WORDS
    assert not known.random


def test_a_run_that_lacks_a_class_does_not_teach_it(run: Path) -> None:
    with pytest.raises(UserError, match="'liver' is none of those"):
        build_teacher(TeacherSource(name=f"run:{run}"), ("head", "liver"))


def test_the_network_of_a_run_is_a_student_for_other_classes_too(run: Path) -> None:
    theirs = build_teacher(TeacherSource(name=f"run:{run}"), WORDS).segmenter
    student = build_student(recipe_of(name=f"run:{run}"), ("liver", "head")).segmenter
    assert student.vocabulary == ("liver", "head")
    image = torch.randn(1, 1, 8, 8, 4)
    asked = student.eval()(image, torch.tensor([[1]])).logits
    assert_close(asked, theirs.eval()(image, torch.tensor([[WORDS.index("head")]])).logits)


def test_a_student_starts_with_the_weights_of_a_run(run: Path) -> None:
    theirs = build_teacher(TeacherSource(name=f"run:{run}"), WORDS).segmenter
    asked = recipe_of(name="sat/unet", options=OPTIONS, start=f"run:{run}")
    student = build_student(asked, WORDS).segmenter
    assert_close(student.state_dict(), theirs.state_dict())


def test_a_start_of_another_size_is_refused(run: Path) -> None:
    options = {**OPTIONS, "widths": [4, 6]}
    with pytest.raises(UserError, match="widths is"):
        build_student(recipe_of(name="sat/unet", options=options, start=f"run:{run}"), WORDS)


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"name": "torchvision/resnet18"}, "segmenter 'torchvision'.*monai, sat"),
        ({"name": "run:somewhere", "options": {"widths": [4]}}, r"student\.options cannot stand"),
        ({"name": "sat/unet", "size": 64}, r"student\.size is a setting for images"),
    ],
)
def test_what_makes_no_segmenter_is_refused(student: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_student(recipe_of(**student), WORDS)


def test_a_teacher_without_weights_knows_nothing_unless_that_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"teacher\.weights is missing"):
        build_teacher(TeacherSource(name="sat/unet", options=OPTIONS), WORDS)
    asked = TeacherSource(name="sat/unet", options=OPTIONS, weights="random")
    assert build_teacher(asked, WORDS).random
    assert build_teacher(asked, WORDS).sha256 == build_teacher(asked, WORDS).sha256


@pytest.fixture
def nano(tmp_path: Path) -> dict[str, Any]:
    """A small one as LoRKD-Nano is released, and vectors as its text encoder makes them."""
    torch.save(wrapped(filled(published.lorkd(SMALL))), tmp_path / "lorkd-imbalance-nano.pth")
    save_file({name: torch.randn(12) for name in WORDS}, tmp_path / "queries.safetensors")
    options = {
        "widths": [4, 6, 8], "hidden": 12, "heads": 2, "layers": 1, "feedforward": 10,
        "embedding": 14, "mask": 5, "pool": 1, "queries": str(tmp_path / "queries.safetensors"),
    }  # fmt: skip
    weights = str(tmp_path / "lorkd-imbalance-nano.pth")
    return {"name": "LoRKD-Nano", "weights": weights, "options": options}


def test_a_released_network_is_known_by_its_name_and_hands_its_terms_on(
    nano: dict[str, Any],
) -> None:
    assert build_teacher(TeacherSource(**nano), WORDS).licence == "Apache-2.0"
    student = build_student(recipe_of(**nano, task="brain"), WORDS)
    assert (student.licence, student.released, student.invented) == ("Apache-2.0", True, False)
    stated = TeacherSource(**nano, licence="CC-BY-4.0")
    assert build_teacher(stated, WORDS).licence == "CC-BY-4.0"


def test_released_weights_are_not_asked_by_vectors_that_they_never_saw(
    nano: dict[str, Any],
) -> None:
    # Fixed ones are as long: no tensor's shape would tell.
    del nano["options"]["queries"]
    with pytest.raises(
        UserError, match=r"teacher\.options\.queries is missing.*write_text_queries"
    ):
        build_teacher(TeacherSource(**nano), WORDS)
    # A student learns to answer them; it is only told.
    assert build_student(recipe_of(**nano, task="brain"), WORDS).invented
    assert not build_student(recipe_of(name="sat/unet", options=OPTIONS), WORDS).invented


def test_a_start_with_made_up_vectors_is_warned_of(
    nano: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _warn_of_released(build_student(recipe_of(**nano), WORDS), None, [], Console())
    assert capsys.readouterr().out == ""
    del nano["options"]["queries"]
    _warn_of_released(build_student(recipe_of(**nano), WORDS), None, [], Console())
    assert "student.options.queries" in capsys.readouterr().out


def test_experts_that_a_teacher_leaves_aside_are_warned_of(
    nano: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = build_student(recipe_of(name="sat/unet", options=OPTIONS), WORDS)
    teacher = build_teacher(TeacherSource(**nano), WORDS)
    assert teacher.bare
    _warn_of_released(student, teacher, [], Console())
    said = capsys.readouterr().out
    assert "an expert for each region, but a teacher is its shared backbone alone" in said
    assert said.count("warning: ") == 1

    state = {k: v for k, v in filled(published.lorkd(SMALL)).items() if "lora" not in k}
    torch.save(wrapped(state), tmp_path / "lorkd-imbalance-nano.pth")
    assert not build_teacher(TeacherSource(**nano), WORDS).bare


def test_vectors_of_one_modality_for_scans_of_two_are_warned_of(
    nano: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = build_student(recipe_of(name="sat/unet", options=OPTIONS), WORDS)
    teacher = replace(build_teacher(TeacherSource(**nano), WORDS), bare=False)
    ct, mr = (opened(write_msd(tmp_path / kind, 4, modality={"0": kind})) for kind in ("CT", "MR"))
    _warn_of_released(student, teacher, [mr], Console())
    _warn_of_released(student, None, [ct, mr], Console())
    assert capsys.readouterr().out == ""
    _warn_of_released(student, teacher, [ct, mr], Console())
    assert "LoRKD-Nano is shown CT and MR" in capsys.readouterr().out.replace("\n", " ")


def test_released_weights_that_are_shown_directions_they_never_saw_are_warned_of(
    nano: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = build_student(recipe_of(**nano), WORDS)
    oblique = opened(write_tilted(tmp_path / "oblique"))
    _warn_of_released(student, None, [oblique], Console())
    assert "set data.spacing_mm" in capsys.readouterr().out
    straight = opened(tmp_path / "oblique", preparation=(1.0, 1.0, 3.0))
    _warn_of_released(student, None, [straight], Console())
    assert capsys.readouterr().out == ""
