"""Who competes, under which name, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from medistill import catalog
from medistill.assemble import METHODS
from medistill.errors import UserError
from medistill.methods.base import Method
from medistill.runs.comparing.asking import grid_of
from medistill.runs.comparing.entrants import (
    distils,
    file_of,
    label,
    method_of,
    reference_of,
    trains_several,
)

from .made import BASE, asked, grid

NAMES = catalog.available(METHODS)


def method(name: str) -> type[Method]:
    return catalog.find(METHODS, name, Method)  # type: ignore[type-abstract]


class TestNames:
    def test_no_two_methods_are_called_the_same_in_tables(self) -> None:
        labels = [label(method(name)) for name in NAMES]
        assert len(set(labels)) == len(labels)

    def test_any_name_of_a_method_leads_to_its_file(self) -> None:
        for name in NAMES:
            assert {file_of(each) for each in (name, *method(name).aliases)} == {name}

    def test_an_unknown_one_is_named_with_the_nearest(self) -> None:
        with pytest.raises(UserError, match=r"reprograming.*reprogramming_distillation"):
            file_of("reprograming_distillation")

    def test_no_method_competes_both_for_one_task_and_for_several(self) -> None:
        both = [name for name in NAMES if distils(method(name)) and trains_several(method(name))]
        assert both == []

    @pytest.mark.parametrize("several", [True, False])
    def test_the_reference_needs_no_teacher(self, several: bool) -> None:
        wanted = set(catalog.collaborators(method(reference_of(several))))
        assert "teacher" not in wanted
        assert "student" in wanted


class TestVariants:
    @pytest.mark.parametrize(
        ("variants", "said"),
        [
            (
                {"a": {"after": "b"}, "b": {"after": "a"}},
                "compare.variants.a.after = 'b' leads round in a circle. Leave one `after` out.",
            ),
            (
                {"a": {"after": "a"}},
                "compare.variants.a.after = 'a' leads round in a circle. Leave one `after` out.",
            ),
            (
                {"late": {"after": "early"}, "early": {"after": "nobody"}},
                "compare.variants.early.after = 'nobody' is neither a method here nor a variant.",
            ),
            ({"RD": {}}, "compare.variants.RD is called like a method; rename it."),
            (
                {"student alone": {}},
                "compare.variants.student alone is called like a method; rename it.",
            ),
        ],
    )
    def test_that_cannot_be_are_refused_for_what_is_wrong(
        self, tmp_path: Path, variants: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(UserError) as error:
            grid(tmp_path, variants=variants)
        assert str(error.value).startswith(said)
        assert "\n" not in str(error.value)

    def test_that_go_by_the_name_of_their_method_are_called_as_it_is(self, tmp_path: Path) -> None:
        variants = {
            "attention_transfer": {"method": "attention_transfer", "teacher.grid": None},
            "vid": {"method": "vid"}, "plain": {"method": "vid"},
        }  # fmt: skip
        found = grid(tmp_path, variants=variants).entries
        assert [found[name].label for name in variants] == ["AT", "VID", "plain"]

    def test_two_of_one_label_are_refused(self, tmp_path: Path) -> None:
        for names in (("vid", "VID"), ("VID", "vid")):
            with pytest.raises(UserError, match="is called VID, as another; rename it"):
                grid(tmp_path, variants={name: {"method": "vid"} for name in names})

    def test_a_method_that_does_not_compete_is_no_stage(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"late\.after = 'kd' is neither a method here"):
            grid(tmp_path, variants={"late": {"after": "kd"}})

    def test_a_stage_may_be_named_by_any_name_of_its_method(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=["kd"], variants={"late": {"after": "kd"}})
        assert found.entries["late"].after == "logit_distillation"

    def test_stand_behind_what_they_come_after_however_they_are_written(
        self, tmp_path: Path
    ) -> None:
        variants = {"c": {"after": "b"}, "b": {"after": "a"}, "a": {}}
        order = list(grid(tmp_path, variants=variants).entries)
        assert order[-3:] == ["a", "b", "c"]

    def test_ask_for_the_teacher_of_what_they_come_after(self, tmp_path: Path) -> None:
        variants = {"late": {"method": "kd", "after": "student_alone"}}
        found = grid(tmp_path, variants=variants)
        assert not found.entries["late"].asks_teacher
        assert found.entries["late"].alone(found.blocks[0]).teacher is None


class TestAll:
    def test_a_variant_takes_the_place_of_the_method_that_it_is_called_like(
        self, tmp_path: Path
    ) -> None:
        variants = {"hint": {"method": {"name": "hint", "stage": 3}}}
        found = grid(tmp_path, methods="all", variants=variants)
        assert {"dkd", "rkd", "reprogramming_distillation"} < set(found.entries)
        assert "method" in found.entries["hint"].overrides[0]
        assert "stage" in found.entries["hint"].overrides[0]
        assert found.entries["hint"].label == label(method("hint"))

    def test_others_may_be_named_beside_it(self, tmp_path: Path) -> None:
        every = grid(tmp_path, methods="all").entries
        more = grid(tmp_path, methods=["all", "full_fine_tuning"]).entries
        assert set(more) - set(every) == {"full_fine_tuning"}


class TestTuning:
    @pytest.mark.parametrize("name", ["full_fine_tuning", "lora"])
    def test_by_name_is_of_the_foundation_model(self, name: str, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=[name])
        assert not found.entries[name].makes_student
        made = found.recipe_of(found.blocks[0], found.entries[name])
        assert made.student.name == BASE["teacher"]["name"]

    def test_without_a_teacher_is_of_the_student(self, tmp_path: Path) -> None:
        recipe = asked(methods=["student_alone", "full_fine_tuning"])
        recipe = recipe.model_copy(update={"teacher": None, "method": {"name": "student_alone"}})
        found = grid_of(recipe, tmp_path)
        assert found.entries["full_fine_tuning"].makes_student


class TestWeights:
    def test_of_the_recipes_own_method_are_tried_around_what_it_says(self, tmp_path: Path) -> None:
        found = grid(
            tmp_path, tune=3, variants={"strong": {"method": {"name": "kd", "imitation": 2.0}}}
        )
        assert found.entries["strong"].weights == (2.0, 8.0, 0.5)
        assert found.entries["strong"].tunable == "imitation"

    def test_where_its_first_term_is_switched_off_the_next_is_tried(self, tmp_path: Path) -> None:
        found = grid(tmp_path, tune=3, variants={"plain": {"method.weights.geometry": 0}})
        assert found.entries["plain"].tunable == "weights.logits"
        assert found.entries["plain"].weights == (1.0, 4.0, 0.25)
        assert found.entries["reprogramming_distillation"].tunable == "weights.geometry"

    def test_one_that_is_tried_is_none(self, tmp_path: Path) -> None:
        assert grid(tmp_path, tune=1).entries["reprogramming_distillation"].weights == ()

    def test_the_student_alone_has_none(self, tmp_path: Path) -> None:
        assert grid(tmp_path, tune=5).entries["student_alone"].weights == ()


def test_the_recipes_own_method_competes_with_its_own_settings() -> None:
    from medistill.runs.comparing.grid import wanted

    recipe = asked(methods=["rd"], seeds=[0])
    recipe = recipe.model_copy(update={"method": {"name": "rd", "weights": {"geometry": 3}}})
    found = grid_of(recipe, Path("out"))
    methods = {cell.entry: found.recipe(cell).method for cell in wanted(found, {})}
    assert methods["reprogramming_distillation"]["weights"] == {"geometry": 3}
    assert methods["student_alone"] == {"name": "student_alone"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("logit_distillation", "KD"),
        ("dist", "DIST"),
        ("semckd", "SemCKD"),
        ("vpt_deep", "VPT-deep"),
        ("knowledge_decomposition", "LoRKD"),
        ("direct_reprogramming", "direct reprogramming"),
    ],
)
def test_a_method_is_called_as_its_paper_does(name: str, said: str) -> None:
    assert label(method_of(name)) == said
