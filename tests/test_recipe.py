"""One YAML file, one validated object; errors name the place and the nearest word."""

from pathlib import Path
from typing import Any

import pytest

from medistill.assemble import method_settings, views
from medistill.documents import parse_yaml
from medistill.errors import UserError
from medistill.recipe import dump, read_recipe, validate

MINIMAL = {"data": {"root": "images"}}


def slip(**sections: Any) -> str:
    """What is said of a recipe with these sections; one line."""
    with pytest.raises(UserError) as error:
        recipe = validate({**MINIMAL, **sections})
        method_settings(recipe)
        views(recipe)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_root_is_all_that_a_recipe_needs() -> None:
    recipe = validate(MINIMAL)
    assert recipe.data.roots["images"].root == Path("images")
    assert recipe.method == {"name": "reprogramming_distillation"}
    assert (recipe.training.epochs, recipe.training.learning_rate) == (240, 5e-3)


def test_a_dumped_recipe_is_the_same_recipe_and_says_every_default(tmp_path: Path) -> None:
    recipe = validate({**MINIMAL, "method": {"name": "rd", "temperature": 2}, "teacher": "run:x"})
    file = tmp_path / "recipe.yaml"
    file.write_text(dump(recipe))
    assert read_recipe(file) == recipe
    assert parse_yaml(file.read_text(), "recipe")["training"]["learning_rate"] == 5e-3


def test_a_dumped_recipe_takes_overrides_as_the_first_one_did(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(dump(validate({"data": {"root": "a", "patient_pattern": "P(.)"}})))
    recipe = read_recipe(file, ["data.root=b", "data.size=64", "method.name=student_alone"])
    assert list(recipe.data.roots) == ["b"]
    assert recipe.data.roots["b"].patient_pattern == "P(.)"
    assert recipe.data.size == 64
    assert recipe.method == {"name": "student_alone"}


def test_a_name_alone_is_short_for_a_section_with_that_name() -> None:
    recipe = validate({**MINIMAL, "method": "rd", "student": "timm/x", "teacher": "run:x"})
    assert recipe.method == {"name": "rd"}
    assert recipe.student.name == "timm/x"
    assert recipe.teacher is not None
    assert recipe.teacher.name == "run:x"


def test_an_empty_section_is_as_one_that_is_left_out() -> None:
    assert validate({**MINIMAL, "training": None, "teacher": None}) == validate(MINIMAL)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"trainin": {}}, "trainin is unknown. Did you mean 'training'?"),
        ({"training": {"epoch": 3}}, "training.epoch is unknown. Did you mean 'epochs'?"),
        ({"teacher": {"nam": "x"}}, "teacher.nam is unknown. Did you mean 'name'?"),
        ({"data": {"root": "x", "sise": 8}}, "data.sise is unknown. Did you mean 'size'?"),
        (
            {"data": {"root": "x", "split": {"sed": 1}}},
            "split.sed is unknown. Did you mean 'seed'?",
        ),
        ({"data": {"roots": {"a": {"rot": "x"}}}}, "a.rot is unknown. Did you mean 'root'?"),
        ({"data": {"root": "x", "augmentation": {"rotation": 9}}}, "mean 'rotation_degrees'?"),
        ({"method": {"name": "rd", "temprature": 3}}, "Did you mean 'temperature'?"),
        (
            {"method": {"name": "rd", "weights": {"geometri": 1}}},
            "method.weights.geometri is unknown. Did you mean 'geometry'?",
        ),
    ],
)
def test_an_unknown_key_is_named_with_its_nearest_neighbour(
    sections: dict[str, Any], said: str
) -> None:
    assert said in slip(**sections)


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        ({"training": {"epochs": "many"}}, "training.epochs = 'many': "),
        ({"training": {"epochs": 0}}, "training.epochs = 0: "),
        ({"training": {"optimizer": "adam"}}, "training.optimizer = 'adam': "),
        ({"training": 3}, "training = 3: "),
        ({"data": {"root": "x", "split": {"test": 1.0}}}, "data.split.test = 1.0: "),
        ({"data": {"root": "x", "augmentation": {"flip": "up"}}}, "augmentation.flip = 'up': "),
        ({"method": {"name": "rd", "temperature": -1}}, "method.temperature = -1: "),
        ({"method": {"name": "rd", "reprogramming": {"blocks": 0}}}, "reprogramming.blocks = 0: "),
        ({"data": None}, "data is missing"),
        ({"data": {"roots": {"a": None}}}, "data.roots.a.root is missing"),
        ({"method": {}}, "method.name is missing"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(sections: dict[str, Any], place: str) -> None:
    assert place in slip(**sections)


def test_a_missing_recipe_is_named_as_written_and_as_resolved(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_recipe(tmp_path / "sub" / ".." / "none.yaml")
    assert "sub/../none.yaml" in str(error.value)
    assert str((tmp_path / "none.yaml").resolve()) in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"- 1", "holds no recipe"), (b"", "holds no recipe"), (b"\x89PNG\xff\xfe", "is no text")],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_recipe(file)
