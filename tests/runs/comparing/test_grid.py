"""The cells of a comparison: pure functions of what was asked and of what has ended."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.errors import UserError
from medistill.recipe import Recipe, validate
from medistill.runs.comparing.asking import grid_of, with_flags
from medistill.runs.comparing.grid import Block, Cell, Grid, around, count, final, wanted

OUT = Path("out")
BASE = {
    "data": {"root": "images", "store": "store"},
    "teacher": {"name": "timm/test_resnet", "weights": "random", "mean": 0.5, "grid": 2},
    "student": {"name": "timm/test_efficientnet"},
    "method": {"name": "rd"},
}
TUNED = {"tuned": {"method": "full_fine_tuning", "student": "teacher"}}
THEN = {**TUNED, "tuned+kd": {"method": "kd", "after": "tuned"}}


def asked(**compare: Any) -> Recipe:
    return validate({**BASE, "compare": {"methods": ["rd"], "seeds": [0, 1], **compare}})


def grid(**compare: Any) -> Grid:
    return grid_of(asked(**compare), OUT)


def ended(found: Grid, merit: float = 0.5, **merits: float | None) -> dict[str, float | None]:
    """Every cell as it ends, each with a merit by a part of its name."""
    known: dict[str, float | None] = {}
    while new := [cell for cell in wanted(found, known) if cell.name not in known]:
        for name in (cell.name for cell in new):
            known[name] = next((v for part, v in merits.items() if part in name), merit)
    return known


def names(found: Grid) -> list[str]:
    return [cell.name for cell in wanted(found, {})]


class TestCells:
    def test_are_every_entry_and_seed_and_the_student_alone_always_competes(self) -> None:
        assert names(grid()) == [
            "images--no_teacher--test_efficientnet--student_alone--seed0",
            "images--test_resnet--test_efficientnet--reprogramming_distillation--seed0",
            "images--no_teacher--test_efficientnet--student_alone--seed1",
            "images--test_resnet--test_efficientnet--reprogramming_distillation--seed1",
        ]

    def test_that_no_teacher_changes_are_run_once_for_all_teachers(self) -> None:
        two = {"a": BASE["teacher"], "b": "run:b"}
        found = names(grid(teachers=two, seeds=[0]))
        assert sum("student_alone" in name for name in found) == 1
        assert sum("reprogramming" in name for name in found) == 2

    def test_that_train_the_foundation_model_itself_are_run_once_for_all_students(self) -> None:
        students = {"a": "timm/test_efficientnet", "b": "timm/test_resnet"}
        found = names(grid(students=students, variants=TUNED, seeds=[0]))
        assert [name for name in found if "tuned" in name] == [
            "images--test_resnet--no_student--tuned--seed0"
        ]

    def test_keep_their_names_when_the_grid_grows(self) -> None:
        small = set(names(grid()))
        large = grid(
            data={"images": "images", "more": "more"}, fractions=[0.1, 1.0], tune=3,
            starts=[None, "run:start"], methods=["rd", "kd"], seeds=[0, 1, 2],
        )  # fmt: skip
        assert small <= set(ended(large))

    def test_have_the_shared_recipe_with_their_own_part_of_it(self) -> None:
        found = grid(data={"more": {"root": "more", "where": "ask"}}, fractions=[0.25])
        recipe = found.recipe(wanted(found, {})[-1])
        assert recipe.data.roots["more"].root == Path("more")
        assert (recipe.data.fraction, recipe.training.seed) == (0.25, 1)
        assert recipe.compare is None
        assert recipe.method["name"] == "rd"

    def test_start_from_each_start_in_blocks_of_their_own(self) -> None:
        found = grid(starts=[None, "run:start"], seeds=[0])
        starts = {found.recipe(cell).student.start for cell in wanted(found, {})}
        assert starts == {None, "run:start"}

    def test_keep_the_start_of_their_student_where_none_is_asked(self) -> None:
        recipe = validate({**BASE, "student": {"name": "timm/test_resnet", "start": "run:s"}})
        found = grid_of(recipe.model_copy(update={"compare": asked().compare}), OUT)
        assert {found.recipe(cell).student.start for cell in wanted(found, {})} == {"run:s"}

    def test_all_means_every_method_that_takes_student_and_teacher(self) -> None:
        found = set(grid(methods="all").entries)
        assert {"student_alone", "logit_distillation", "reprogramming_distillation"} <= found
        assert found.isdisjoint({"universal_pretraining", "linear_probe", "feature_distillation"})
        assert "multi_task_distillation" not in found, "it is made for several tasks"
        assert list(grid(methods="all").entries)[-1] == "reprogramming_distillation"

    def test_without_a_teacher_all_is_the_method_alone(self) -> None:
        recipe = validate({"data": BASE["data"], "method": "student_alone"})
        assert list(grid_of(recipe, OUT).entries) == ["student_alone"]


class TestVariants:
    def test_change_what_they_say_and_nothing_else(self) -> None:
        found = grid(variants={"bare": {"method.weights.geometry": 0}})
        cells = {cell.entry: found.recipe(cell) for cell in wanted(found, {})}
        assert cells["bare"].method == {"name": "rd", "weights": {"geometry": 0}}
        bare = cells["bare"].model_copy(
            update={"method": cells["reprogramming_distillation"].method}
        )
        assert bare == cells["reprogramming_distillation"]

    def test_can_train_the_foundation_model_itself(self) -> None:
        found = grid(variants=TUNED)
        recipe = next(found.recipe(cell) for cell in wanted(found, {}) if cell.entry == "tuned")
        assert recipe.student.name == "timm/test_resnet"
        assert (recipe.student.weights, recipe.student.mean) == ("random", 0.5)

    def test_that_train_a_foundation_model_of_a_run_begin_with_its_weights(self) -> None:
        recipe = validate({
            **BASE, "teacher": {"name": "run:runs/vit", "grid": 1},
            "compare": {"methods": ["rd"], "variants": THEN, "seeds": [0]},
        })  # fmt: skip
        found = grid_of(recipe, OUT)
        (tuned,) = [cell for cell in wanted(found, {}) if cell.entry == "tuned"]
        student = found.recipe(tuned).student
        assert student.name == "run:runs/vit"
        assert student.weights == "random"  # as every student's of a run

    def test_train_it_under_its_own_terms_and_shown_what_it_was_shown(self) -> None:
        section = {**BASE["teacher"], "licence": "CC-BY-NC-4.0", "stretch": True}
        found = grid(variants=THEN, teachers={"a": section})
        recipes = {c.entry: found.recipe(c) for c in wanted(found, ended(found))}
        student, teacher = recipes["tuned"].student, recipes["tuned+kd"].teacher
        assert (student.licence, student.stretch) == ("CC-BY-NC-4.0", True)
        assert teacher is not None
        assert (teacher.licence, teacher.stretch) == ("CC-BY-NC-4.0", None)

    def test_wait_for_the_run_that_is_their_teacher(self) -> None:
        found = grid(variants=THEN)
        merits = ended(found)
        later = [cell for cell in wanted(found, merits) if cell.entry == "tuned+kd"]
        assert [cell.stage.entry for cell in later if cell.stage] == ["tuned", "tuned"]
        teacher = found.recipe(later[1]).teacher
        assert teacher is not None
        assert teacher.name == "run:out/cells/images--test_resnet--no_student--tuned--seed1"
        assert (teacher.weights, teacher.mean, teacher.grid) == (None, None, 2)

    @pytest.mark.parametrize(
        ("variants", "said"),
        [
            ({"kd": {"after": "nothing"}}, "compare.variants.kd.after = 'nothing' is neither"),
            ({"student_alone": {}}, "compare.variants.student_alone is called like a method"),
            ({"x": {"method.weights.geometri": 0}}, "compare, x: method.weights.geometri is unkn"),
            ({"x": {"method": "rdd"}}, "compare, x: Unknown method 'rdd'"),
        ],
    )
    def test_that_make_no_sense_are_named(self, variants: dict[str, Any], said: str) -> None:
        with pytest.raises(UserError, match=f"^{said}"):
            grid(variants=variants)


class TestTuning:
    def test_tries_as_many_weights_for_each_on_the_first_seed_alone(self) -> None:
        found = grid(methods=["kd", "rd"], tune=3)
        first = [name for name in names(found) if name.endswith("seed0")]
        assert sum("logit_distillation" in name for name in first) == 3
        assert sum("reprogramming_distillation" in name for name in first) == 3
        assert sum("student_alone" in name for name in first) == 1

    def test_takes_what_validation_finds_best_for_the_other_seeds(self) -> None:
        found = grid(methods=["kd"], tune=3)
        merits = ended(found, **{"weight_4-": 0.9})
        kd, block = found.entries["logit_distillation"], found.blocks[0]
        chosen = [final(found, block, kd, seed, merits) for seed in found.seeds]
        assert [cell.weight for cell in chosen if cell] == [4.0, 4.0]
        assert found.recipe(chosen[1]).method["imitation"] == 4.0

    def test_stays_with_the_default_where_others_are_no_better_or_failed(self) -> None:
        found = grid(methods=["kd"], tune=3)
        kd, block = found.entries["logit_distillation"], found.blocks[0]
        for other in (0.5, None):
            merits = ended(found, weight_=other)
            cell = final(found, block, kd, 1, merits)
            assert cell is not None
            assert cell.weight is None

    def test_leaves_terms_off_that_a_variant_switched_off(self) -> None:
        bare = {"method.weights.geometry": 0, "method.weights.logits": 0}
        found = grid(variants={"bare": bare}, tune=3)
        assert found.entries["bare"].weights == ()

    @given(st.floats(1e-3, 1e3), st.integers(1, 9))
    def test_tries_the_default_first_and_the_rest_evenly_around_it(
        self, default: float, many: int
    ) -> None:
        tried = around(default, many)
        assert tried[0] == default
        assert len(set(tried)) == many
        assert max(tried) / default <= (default / min(tried)) * 4.001


def test_the_number_of_cells_is_known_before_any_has_run() -> None:
    found = grid(
        methods=["kd", "rd"], variants=THEN, tune=3, fractions=[0.5, 1], seeds=[0, 1, 2],
        students={"a": "timm/test_efficientnet", "b": "timm/test_resnet"},
        teachers={"a": BASE["teacher"], "b": "run:b"},
    )  # fmt: skip
    assert count(found) == len(ended(found))


def test_what_is_left_out_is_neither_run_nor_counted() -> None:
    found = grid(methods=["kd", "rd"])
    less = Grid(**{**vars(found), "left_out": {(found.blocks[0], "logit_distillation"): "why"}})
    assert not any("logit" in name for name in ended(less))
    assert count(less) == len(ended(less)) == 4


class TestFlags:
    def test_choose_among_what_the_block_names(self) -> None:
        recipe = asked(data={"a": {"root": "a", "layout": "manifest"}, "b": "b"}, variants=THEN)
        flags = {"data": ("a=other", "c=c"), "methods": ("kd", "tuned+kd"), "seeds": (5,)}
        compare = with_flags(recipe, flags).compare
        assert compare is not None
        assert compare.data == {"a": {"root": "other", "layout": "manifest"}, "c": "c"}
        assert compare.methods == ("kd",)
        assert list(compare.variants) == ["tuned", "tuned+kd"]
        assert compare.seeds == (5,)

    def test_that_are_not_said_change_nothing(self) -> None:
        recipe = asked(tune=3)
        assert with_flags(recipe, {"tune": None, "data": None}) == recipe

    def test_name_networks_that_the_block_does_not(self) -> None:
        flags = {"students": ("torchvision/resnet18",), "teachers": ("t=run:x", "run:y/z/")}
        compare = with_flags(asked(), flags).compare
        assert compare is not None
        assert compare.students == {"resnet18": "torchvision/resnet18"}
        assert compare.teachers == {"t": "run:x", "z": "run:y/z/"}


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"compare\.metric 'acuracy' is unknown\. Did you mean 'ac"):
        grid(metric="acuracy")


def test_a_name_holds_nothing_that_a_file_system_minds() -> None:
    cell = Cell(Block("a/b", "x y", "résumé:1", "run:d/e", 0.05), "m", 0, 0.25)
    assert cell.name == "a_b--x_y--résumé_1--from_e--5%--m--weight_0.25--seed0"
