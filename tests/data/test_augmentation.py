"""What a recipe may set about augmentation."""

import sys
from subprocess import run

import pytest
from pydantic import TypeAdapter

from medistill.data.augmentation import Augmentation
from medistill.errors import UserError


@pytest.mark.parametrize(
    "name", ["scale", "shift", "crop", "brightness", "contrast", "gamma", "noise"]
)
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_named_with_its_value(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} is {value}"):
        Augmentation(**{name: value})


@pytest.mark.parametrize("name", ["scale", "contrast", "crop"])
def test_what_would_leave_nothing_of_an_image_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="below 1"):
        Augmentation(**{name: 1.0})


def test_a_rotation_beyond_a_half_turn_is_refused() -> None:
    with pytest.raises(UserError, match="rotation_degrees is 190"):
        Augmentation(rotation_degrees=190.0)


def test_nothing_is_mirrored_unless_the_recipe_says_so() -> None:
    assert Augmentation().flip == "none"


def test_a_recipe_may_hold_whole_numbers() -> None:
    wanted = Augmentation(rotation_degrees=5.0, noise=0.0, flip="horizontal")
    given = {"rotation_degrees": 5, "noise": 0, "flip": "horizontal"}
    assert TypeAdapter(Augmentation).validate_python(given) == wanted


def test_a_recipe_is_told_of_a_bad_value_in_one_line() -> None:
    with pytest.raises(UserError, match="noise is 2"):
        TypeAdapter(Augmentation).validate_python({"noise": 2})


def test_reading_settings_needs_no_torch() -> None:
    code = "import sys, medistill.data.augmentation; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
