"""A released foundation model teaches, is tuned, and starts others; its terms go along."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medistill.assemble import build_foundation, build_student
from medistill.models.deployed import load_deployed
from medistill.recipe import Recipe, TeacherSource, read_recipe
from medistill.results import RunFolder, read_json
from medistill.runs.console import Console
from medistill.runs.train import train
from tests.models.checkpoints import published
from tests.trained import Phantoms, write_recipe

SAM = {"depth": 1, "embed_dim": 64, "num_heads": 1, "global_attn_indexes": [0]}
VIT = {"depth": 1, "embed_dim": 48, "num_heads": 3}
QUICK = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "threads": 1}


@pytest.fixture
def made(phantoms: Phantoms, tmp_path: Path) -> Any:
    """Makes a recipe that differs from the finished run's in whole sections."""

    def make(**sections: Any) -> Recipe:
        path = write_recipe(tmp_path / "r.yaml", phantoms, **{"training": QUICK, **sections})
        return read_recipe(path)

    return make


@pytest.fixture
def lvm_med(tmp_path: Path) -> dict[str, Any]:
    """The section of a recipe that names it; of one block, but otherwise as it is published."""
    state = published.filled(published.sam(depth=1, width=64, absolute=False, whole=(0,)))
    torch.save(state, tmp_path / "lvmmed_vit.pth")
    file = str(tmp_path / "lvmmed_vit.pth")
    return {"name": "lvm_med_vit", "weights": file, "options": SAM, "size": 32}


@pytest.fixture
def rad_dino(tmp_path: Path) -> dict[str, Any]:
    torch.save(published.rad_dino(depth=1, width=48), tmp_path / "rad_dino.pt")
    file = str(tmp_path / "rad_dino.pt")
    return {"name": "rad_dino", "weights": file, "options": VIT, "size": 28}


def trained(recipe: Recipe, path: Path) -> RunFolder:
    return train(recipe, path, console=Console(quiet=True))


def test_the_terms_of_a_teacher_reach_the_students_card(
    made: Any, lvm_med: dict[str, Any], tmp_path: Path
) -> None:
    run = trained(made(teacher={**lvm_med, "grid": 1}), tmp_path / "run")
    card = run.card.read_text(encoding="utf-8")
    assert "license: cc-by-nc-sa-4.0" in card
    assert "Licence of its weights: CC-BY-NC-SA-4.0." in card
    assert "Its terms forbid commercial use, and this student inherits them." in card
    assert read_json(run.deployed("breast").config)["licences"] == ["CC-BY-NC-SA-4.0"]
    assert read_json(run.environment)["teacher"]["licence"] == "CC-BY-NC-SA-4.0"


def test_the_terms_of_a_model_that_was_tuned_reach_those_it_teaches(
    made: Any, tmp_path: Path
) -> None:
    vit = {"name": "timm/test_vit", "options": {"img_size": 32}, "weights": "random"}
    student = {**vit, "licence": "CC-BY-NC-4.0", "stretch": True}
    first = trained(made(student=student, method="lora"), tmp_path / "first")
    assert read_json(first.environment)["teacher"] is None  # the recipe has one
    deployed = read_json(first.deployed("breast").config)
    assert (deployed["licences"], deployed["stretch"]) == (["CC-BY-NC-4.0"], True)
    assert "taught by" not in first.card.read_text(encoding="utf-8")
    recipe = made(teacher={"name": f"run:{first.path}", "grid": 1}, method="linear_probe")
    second = trained(recipe, tmp_path / "second")
    card = second.card.read_text(encoding="utf-8")
    assert "The exported file holds the weights of `run:first` as they were" in card
    assert "Licence of its weights: CC-BY-NC-4.0." in card
    assert "not stated" not in card and "Nothing of the teacher" not in card
    config = read_json(second.deployed("breast").config)
    assert (config["licences"], config["stretch"]) == (["CC-BY-NC-4.0"], True)


def test_what_a_recipe_says_of_a_licence_wins(lvm_med: dict[str, Any]) -> None:
    source = TeacherSource(**lvm_med, licence="by agreement")
    assert build_foundation(source, size=32).licence == "by agreement"


def test_it_is_shown_its_own_size_unless_a_recipe_says_otherwise(lvm_med: dict[str, Any]) -> None:
    assert build_foundation(TeacherSource(**lvm_med), size=96).encoder.size == 32
    del lvm_med["size"]
    assert build_foundation(TeacherSource(**lvm_med), size=96).encoder.size == 224


def test_the_normalisation_of_a_recipe_goes_before_its_own(lvm_med: dict[str, Any]) -> None:
    encoder = build_foundation(TeacherSource(**lvm_med), size=32).encoder
    assert encoder.mean == (0.485, 0.456, 0.406)
    encoder = build_foundation(TeacherSource(**lvm_med, mean=0.0, std=1.0), size=32).encoder
    assert (encoder.mean, encoder.std) == ((0.0,) * 3, (1.0,) * 3)


def test_its_images_are_stretched_as_its_authors_do_unless_a_recipe_says_otherwise(
    made: Any, lvm_med: dict[str, Any]
) -> None:
    assert build_foundation(TeacherSource(**lvm_med), size=32).encoder.stretch
    for said in (True, False):
        source = TeacherSource(**lvm_med, stretch=said)
        assert build_foundation(source, size=32).encoder.stretch == said
        student = build_student(made(student={**lvm_med, "stretch": said}), 2)
        assert student.encoder.stretch == said


def test_tuned_as_a_student_it_is_deployed_and_starts_another_run(
    made: Any, rad_dino: dict[str, Any], tmp_path: Path
) -> None:
    alone = {"teacher": None, "method": "student_alone"}
    run = trained(made(**alone, student=rad_dino), tmp_path / "run")
    card = run.card.read_text(encoding="utf-8")
    assert "license: mit" in card
    assert "The exported file holds the weights of `rad_dino`, as training left them." in card
    assert "Licence of its weights: MIT." in card
    assert read_json(run.environment)["student"]["licences"] == ["MIT"]
    student, config = load_deployed(run.deployed("breast").path)
    assert config["backbone"]["name"] == "timm/vit_base_patch14_dinov2"
    assert config["network_size"] == 28
    started = build_student(made(**alone, student={**rad_dino, "start": f"run:{run.path}"}), 3)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        features = started.eval()(images).features
        assert torch.equal(features, student(images).features)
        assert features.isfinite().all()
