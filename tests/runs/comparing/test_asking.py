"""What a block and flags ask for, and what they cannot mean."""

from pathlib import Path
from typing import Any

import pytest

from medistill.errors import UserError
from medistill.recipe import validate
from medistill.runs.comparing.asking import grid_of, with_flags
from medistill.runs.comparing.grid import count, wanted

from .made import BASE, TUNED, asked, grid


class TestFlags:
    @pytest.mark.parametrize(
        ("key", "values", "name"),
        [
            ("data", ("berlin/images", "paris/images"), "berlin/images"),
            ("data", ("a=berlin", "a=paris"), "a"),
            ("teachers", ("run:a/run", "run:b/run/"), "run"),
            ("students", ("timm/resnet18", "torchvision/resnet18"), "resnet18"),
        ],
    )
    def test_that_call_two_things_the_same_are_refused_for_one_would_be_lost(
        self, key: str, values: tuple[str, ...], name: str
    ) -> None:
        with pytest.raises(UserError) as error:
            with_flags(asked(), {key: values})
        said = str(error.value)
        assert said.startswith(f"--{key} {values[1]}: ")
        assert said.endswith("is there already. Name them: NAME=VALUE.")
        assert "\n" not in said

    def test_that_give_them_names_are_taken(self) -> None:
        found = with_flags(asked(), {"data": ("berlin=berlin/images", "paris=paris/images")})
        assert found.compare is not None
        assert found.compare.data == {"berlin": "berlin/images", "paris": "paris/images"}

    def test_a_place_may_hold_anything_but_the_name_ends_at_the_first_equals(self) -> None:
        found = with_flags(asked(), {"data": ("a=/Ünïcode dir/x=1, y",)})
        assert found.compare is not None
        assert found.compare.data == {"a": "/Ünïcode dir/x=1, y"}

    def test_a_variant_brings_the_method_that_it_comes_after_and_other_variants_go(self) -> None:
        variants = {"late": {"method": "rd", "after": "kd"}, "other": {"method": "fitnets"}}
        found = with_flags(asked(variants=variants), {"methods": ("late",)})
        assert found.compare is not None
        assert found.compare.methods == ("kd",)
        assert list(found.compare.variants) == ["late"]

    def test_a_folder_whose_name_holds_a_sign_is_one_folder(self, tmp_path: Path) -> None:
        (tmp_path / "site=1").mkdir()
        for folder in (str(tmp_path / "site=1"), "/data/site=1/busi"):
            found = with_flags(asked(), {"data": (folder,)})
            assert found.compare is not None
            assert list(found.compare.data.values()) == [folder]

    def test_names_of_the_recipe_itself_are_known(self, tmp_path: Path) -> None:
        data = {"root": "sets/breast", "patient_pattern": "x_(.*)"}
        recipe = validate({**BASE, "data": data, "compare": {"teachers": {"other": "run:o"}}})
        flags = {
            "data": ("breast",),
            "teachers": ("test_resnet", "other"),
            "students": ("test_efficientnet",),
        }
        found = grid_of(with_flags(recipe, flags), tmp_path)
        assert found.sets == found.base["data"]["roots"]
        assert found.sets["breast"]["patient_pattern"] == "x_(.*)"
        assert found.teachers == {"test_resnet": found.base["teacher"], "other": {"name": "run:o"}}
        assert found.students == {"test_efficientnet": found.base["student"]}

    def test_another_place_for_the_recipes_own_set_leaves_the_rest_of_it(self) -> None:
        recipe = validate(
            {**BASE, "data": {"roots": {"a": {"root": "x", "patient_pattern": "p(.*)"}}}}
        )
        found = with_flags(recipe, {"data": ("a=elsewhere",)})
        assert found.compare is not None
        assert found.compare.data["a"]["root"] == "elsewhere"
        assert found.compare.data["a"]["patient_pattern"] == "p(.*)"

    def test_another_network_has_nothing_of_the_one_whose_name_it_takes(self) -> None:
        teachers = {"t": {**BASE["teacher"], "mean": 0.4}}
        flags = {"teachers": ("t=run:x",), "students": ("test_efficientnet=timm/test_vit",)}
        found = with_flags(asked(teachers=teachers), flags)
        assert found.compare is not None
        assert found.compare.teachers == {"t": "run:x"}
        assert found.compare.students == {"test_efficientnet": "timm/test_vit"}

    def test_a_flag_of_nothing_is_no_flag(self) -> None:
        assert with_flags(asked(), {}) == asked()


class TestFolders:
    @pytest.mark.parametrize(
        ("block", "first", "second"),
        [
            ({"data": {"a b": "x", "a_b": "y"}}, "'a b'", "'a_b'"),
            ({"starts": ["run:x/best", "run:y/best"]}, "'run:x/best'", "'run:y/best'"),
            ({"variants": {"v:1": TUNED, "v/1": TUNED}}, "'v:1'", "'v/1'"),
        ],
    )
    def test_two_runs_that_would_share_one_are_refused(
        self, tmp_path: Path, block: dict[str, Any], first: str, second: str
    ) -> None:
        with pytest.raises(UserError) as error:
            grid(tmp_path, **block)
        said = str(error.value)
        assert said.startswith(f"compare: {first} and {second} would share the folder cells/")
        assert said.endswith("Give one of them another name.")

    def test_equal_runs_of_several_blocks_do_share_theirs(self, tmp_path: Path) -> None:
        teachers = {"a": BASE["teacher"], "b": "run:b"}
        found = grid(tmp_path, teachers=teachers, starts=[None, "run:x/best"], seeds=[0])
        names = [cell.name for cell in wanted(found, {})]
        assert len(names) == len(set(names)) == count(found) == 6


class TestGrid:
    def test_seeds_that_are_said_twice_are_run_once(self, tmp_path: Path) -> None:
        assert grid(tmp_path, seeds=[3, 3, 1]).seeds == (3, 1)

    @pytest.mark.parametrize(
        "twice", [{"fractions": [1, 0.5, 1.0]}, {"starts": [None, "run:x/best", None]}]
    )
    def test_what_is_said_twice_makes_each_block_once(
        self, tmp_path: Path, twice: dict[str, Any]
    ) -> None:
        blocks = grid(tmp_path, **twice).blocks
        assert len(blocks) == len(set(blocks)) == 2

    @pytest.mark.parametrize("metric", ["sensitivity", "specificity", "", "Accuracy"])
    def test_a_metric_that_means_little_over_classes_is_none(
        self, tmp_path: Path, metric: str
    ) -> None:
        with pytest.raises(UserError, match=r"^compare\.metric .* is unknown\..* Known: [a-z]"):
            grid(tmp_path, metric=metric)

    def test_one_task_and_several_together_are_named(self, tmp_path: Path) -> None:
        data = {"several": {"roots": {"a": "x", "b": "y"}}, "alone": "z"}
        with pytest.raises(UserError, match=r"^compare\.data: alone is one task"):
            grid(tmp_path, data=data)

    def test_what_the_block_leaves_out_is_the_recipes_own(self, tmp_path: Path) -> None:
        recipe = validate({**BASE, "data": {"root": "images", "store": "s", "fraction": 0.5}})
        found = grid_of(recipe, tmp_path)
        (block,) = found.blocks
        assert (block.data, block.teacher, block.student, block.fraction) == (
            "images", "test_resnet", "test_efficientnet", 0.5,
        )  # fmt: skip
        assert found.seeds == (0, 1, 2)
        assert found.cells == tmp_path / "cells"

    def test_blocks_come_by_share_then_set_then_student_then_teacher(self, tmp_path: Path) -> None:
        found = grid(
            tmp_path, fractions=[0.5, 1.0], data={"a": "a", "b": "b"},
            teachers={"s": BASE["teacher"], "t": "run:t"},
        )  # fmt: skip
        order = [(block.fraction, block.data, block.teacher) for block in found.blocks]
        assert order == [(f, d, t) for f in (0.5, 1.0) for d in "ab" for t in "st"]

    def test_where_a_set_can_be_had_is_no_matter_of_its_runs(self, tmp_path: Path) -> None:
        found = grid(tmp_path, data={"a": {"root": "x", "where": "Ask."}})
        assert found.roots("a") == {"a": {"root": "x"}}
        assert not found.several("a")
        for cell in wanted(found, {}):
            assert list(found.recipe(cell).data.roots) == ["a"]


class TestSections:
    def test_a_variant_that_trains_the_foundation_model_takes_its_normalisation(
        self, tmp_path: Path
    ) -> None:
        teachers = {"t": {**BASE["teacher"], "mean": 0.4, "std": 0.2}}
        found = grid(tmp_path, teachers=teachers, variants={"tuned": TUNED}, seeds=[0])
        (recipe,) = (found.recipe(c) for c in wanted(found, {}) if c.entry == "tuned")
        student = recipe.student
        assert (student.name, student.mean, student.std) == ("timm/test_resnet", 0.4, 0.2)
        assert student.start is None

    def test_the_shared_recipe_stays_as_it_was(self, tmp_path: Path) -> None:
        found = grid(tmp_path, variants={"v": {"training.epochs": 7}})
        epochs = {cell.entry: found.recipe(cell).training.epochs for cell in wanted(found, {})}
        assert epochs["v"] == 7
        assert epochs["student_alone"] == found.base["training"]["epochs"] != 7
