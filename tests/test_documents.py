"""Recipes as text: what YAML means here, and what `--set` does to it."""

from typing import Any

import pytest

from medistill.documents import named_roots, parse_yaml, with_overrides
from medistill.errors import UserError


@pytest.mark.parametrize(
    ("text", "number"),
    [("5e-3", 5e-3), ("1.5E+3", 1500.0), ("-2e1", -20.0), (".5e-3", 5e-4), ("3", 3), ("0.1", 0.1)],
)
def test_numbers_are_numbers_whatever_yaml_1_1_thinks(text: str, number: float) -> None:
    assert parse_yaml(f"a: {text}", "here") == {"a": number}
    assert parse_yaml(f"{{a: {text}}}", "here") == {"a": number}


def test_a_quoted_number_is_text() -> None:
    assert parse_yaml("a: '5e-3'", "here") == {"a": "5e-3"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3", "'a' twice"),
        ("a: [1", "line 1"),
        ("a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("? [1, 2]\n: 3", "unhashable"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_what_is_no_yaml_is_told_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(UserError, match="not valid YAML") as error:
        parse_yaml(text, "recipe.yaml")
    assert reason in str(error.value)
    assert str(error.value).startswith("recipe.yaml")
    assert "\n" not in str(error.value)


def test_an_override_sets_one_value_and_leaves_the_original_alone() -> None:
    document = {"training": {"epochs": 3, "seed": 1}}
    assert with_overrides(document, ["training.epochs=5e0"]) == {
        "training": {"epochs": 5.0, "seed": 1}
    }
    assert document["training"]["epochs"] == 3


@pytest.mark.parametrize("training", [None, {}])
def test_an_override_makes_the_section_that_is_missing(training: Any) -> None:
    document = {} if training is None else {"training": None}
    assert with_overrides(document, ["training.epochs=3"]) == {"training": {"epochs": 3}}


@pytest.mark.parametrize("override", ["training.epochs", "=3", "training..epochs=3", ".epochs=3"])
def test_an_override_that_is_not_written_as_one_is_refused(override: str) -> None:
    with pytest.raises(UserError, match=r"write it as section\.key=value"):
        with_overrides({}, [override])


def test_an_override_below_what_is_no_section_is_refused() -> None:
    with pytest.raises(UserError, match="epochs is not a section"):
        with_overrides({"training": {"epochs": 3}}, ["training.epochs.most=4"])


def test_the_short_form_of_a_method_can_be_overridden_below() -> None:
    assert with_overrides({"method": "rd"}, ["method.temperature=3"]) == {
        "method": {"name": "rd", "temperature": 3}
    }


@pytest.mark.parametrize("override", ["method.name=student_alone", "method=student_alone"])
@pytest.mark.parametrize("method", ["rd", {"name": "rd", "temperature": 3}, None])
def test_another_method_does_not_inherit_settings(override: str, method: Any) -> None:
    changed = with_overrides({"method": method}, [override])
    assert changed["method"] in ({"name": "student_alone"}, "student_alone")


def test_the_same_method_keeps_its_settings() -> None:
    method = {"name": "rd", "temperature": 3}
    assert with_overrides({"method": method}, ["method.name=rd"])["method"] == method


def test_settings_that_stand_before_the_new_method_are_its_own() -> None:
    overrides = ["method.temperature=2", "method.name=logit_distillation"]
    assert with_overrides({"method": {"name": "rd", "blocks": 1}}, overrides) == {
        "method": {"name": "logit_distillation", "temperature": 2}
    }


@pytest.mark.parametrize(
    "data",
    [
        {"root": "old", "size": 8},
        {"root": "old", "name": "named", "size": 8},
        {"roots": ["old", "older"], "size": 8},
        {"roots": {"a": {"root": "old"}}, "size": 8},
        {"roots": [{"name": "a", "root": "old"}], "size": 8},
    ],
)
def test_a_new_root_takes_the_place_of_all_others(data: dict[str, Any]) -> None:
    changed = with_overrides({"data": data}, ["data.size=16", "data.root=new"])
    assert changed["data"] == {"root": "new", "size": 16}


@pytest.mark.parametrize("roots", [{"a": {"root": "old", "patient_pattern": "P"}}, None])
def test_a_new_root_keeps_what_the_only_one_said_of_itself(roots: Any) -> None:
    data = {"roots": roots} if roots else {"root": "old", "patient_pattern": "P"}
    changed = with_overrides({"data": data}, ["data.root=new"])
    assert changed["data"] == {"root": "new", "patient_pattern": "P"}


def test_one_of_several_roots_is_reached_by_its_name() -> None:
    data = {"roots": {"a": {"root": "x"}, "b": {"root": "y"}}}
    changed = with_overrides({"data": data}, ["data.roots.a.root=z"])
    assert changed["data"]["roots"] == {"a": {"root": "z"}, "b": {"root": "y"}}


@pytest.mark.parametrize(
    ("data", "roots"),
    [
        ({"root": "x/lung"}, {"lung": {"root": "x/lung"}}),
        ({"root": "x/lung", "name": "ct"}, {"ct": {"root": "x/lung"}}),
        ({"root": "x/ct", "layout": "medmnist"}, {"ct": {"root": "x/ct", "layout": "medmnist"}}),
        ({"roots": ["x/ct", "x/brain"]}, {"ct": {"root": "x/ct"}, "brain": {"root": "x/brain"}}),
        ({"roots": {"a": "x"}, "layout": "manifest"}, {"a": {"root": "x", "layout": "manifest"}}),
        ({"roots": [{"name": "a", "root": "x"}]}, {"a": {"root": "x"}}),
        ({"root": 2024}, {"2024": {"root": "2024"}}),
        ({"root": "x/breastmnist.npz"}, {"breastmnist": {"root": "x/breastmnist.npz"}}),
        ({"root": "x/busi/manifest.csv"}, {"busi": {"root": "x/busi/manifest.csv"}}),
        ({"root": "x", "name": "../a/b"}, {"_a_b": {"root": "x"}}),
        ({"root": "/"}, {"data": {"root": "/"}}),
    ],
)  # fmt: skip
def test_roots_have_one_form_and_names_that_a_folder_can_bear(
    data: dict[str, Any], roots: dict[str, Any]
) -> None:
    assert named_roots(data) == {"roots": roots}


@pytest.mark.parametrize("data", [{}, {"roots": None}, {"roots": []}, {"layout": "manifest"}])
def test_data_without_a_root_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"data\.root is missing"):
        named_roots(data)


def test_two_roots_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="give each a `name`"):
        named_roots({"roots": ["a/lung", "b/lung"]})
