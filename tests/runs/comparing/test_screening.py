"""What cannot run is said before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from medistill.errors import UserError
from medistill.runs.comparing.asking import grid_of
from medistill.runs.comparing.grid import Grid
from medistill.runs.comparing.screening import Absent, _told, screen
from medistill.runs.console import Console
from tests.trained import Phantoms

from .conftest import asked
from .made import grid


@pytest.fixture
def screened(phantoms: Phantoms, tmp_path: Path) -> Any:
    def screened(**changes: Any) -> tuple[Grid, list[Absent]]:
        recipe = asked(tmp_path, phantoms, **{"seeds": [0], **changes})
        return screen(grid_of(recipe, tmp_path), Console(quiet=True))

    return screened


def names(grid: Grid) -> set[str]:
    return {entry.name for _, entry in grid.competing()}


def test_a_method_that_wants_more_of_the_teacher_than_it_gives_is_left_out(screened: Any) -> None:
    vectors = {"t": {"name": "timm/test_resnet", "weights": "random", "grid": 1}}
    grid, absent = screened(methods=["hint", "rd"], teachers=vectors)
    assert names(grid) == {"student_alone", "reprogramming_distillation"}
    assert [one.what for one in absent] == ["hint"]
    assert "teacher.grid above 1" in absent[0].why


def test_what_cannot_run_with_one_student_runs_with_the_other(screened: Any) -> None:
    students = {"a": "timm/test_efficientnet", "b": {"name": "timm/test_resnett"}}
    grid, absent = screened(students=students)
    assert {block.student for block, _ in grid.competing()} == {"a"}
    assert "student alone (breast · test_resnet · b)" in {one.what for one in absent}


def test_what_comes_after_something_that_is_left_out_is_left_out_too(screened: Any) -> None:
    variants = {
        "tuned": {"method": "lora", "student": "teacher"},
        "tuned+kd": {"method": "kd", "after": "tuned"},
    }
    grid, absent = screened(variants=variants)
    assert names(grid) == {"student_alone", "reprogramming_distillation"}
    assert {one.what for one in absent} == {"tuned", "tuned+kd"}


def test_a_method_of_full_batches_is_left_out_where_the_images_do_not_fill_one(
    screened: Any,
) -> None:
    grid, absent = screened(methods=["semckd", "rd"], fractions=[0.1, 1.0])
    kept = {(block.fraction, entry.name) for block, entry in grid.competing()}
    assert (1.0, "semckd") in kept
    assert (0.1, "semckd") not in kept
    assert "its batches must be full" in absent[0].why


def test_a_set_that_is_not_here_is_named_with_where_to_get_it(
    screened: Any, phantoms: Phantoms
) -> None:
    data = {"busi": {"root": "nowhere", "where": "Ask."}, "breast": str(phantoms.breast)}
    grid, absent = screened(data=data)
    assert {block.data for block in grid.blocks} == {"breast"}
    assert absent == [Absent("busi", "there is nothing at nowhere. Ask.")]


def test_a_teacher_whose_weights_are_not_here_is_named_once(screened: Any) -> None:
    teachers = {
        "lost": {"name": "timm/test_resnet", "weights": "nowhere.pt"},
        "here": {"name": "timm/test_resnet", "weights": "random"},
    }
    grid, absent = screened(teachers=teachers, methods=["kd", "rd"])
    assert {block.teacher for block, _ in grid.competing()} == {"here"}
    assert [one.what for one in absent] == ["lost"]
    assert "no file at nowhere.pt" in absent[0].why


def test_nothing_left_is_a_slip_that_names_the_first_reason(screened: Any) -> None:
    with pytest.raises(UserError, match=r"Nothing is left to compare\. busi: there is no"):
        screened(data={"busi": "x"})


def test_images_without_labels_are_no_ground_for_a_comparison(
    screened: Any, phantoms: Phantoms
) -> None:
    with pytest.raises(UserError, match="has no labelled test images to be judged by"):
        screened(data={"loose": str(phantoms.flat)})


class TestTold:
    def told(self, left_out: dict[tuple[int, str], str], count: int = 5) -> list[tuple[str, str]]:
        found = grid(Path("out"), data={f"set{n}": f"x{n}" for n in range(count)})
        why = {(found.blocks[n], name): said for (n, name), said in left_out.items()}
        return _told(Grid(**{**vars(found), "left_out": why}))

    def test_what_runs_nowhere_is_one_line_without_places(self) -> None:
        everywhere = {(n, "student_alone"): "no labels." for n in range(5)}
        assert self.told(everywhere) == [("student alone", "no labels.")]

    def test_what_runs_elsewhere_names_three_places_and_counts_the_rest(self) -> None:
        some = {(n, "student_alone"): "no labels." for n in range(4)}
        ((what, _),) = self.told(some)
        places = ", ".join(f"set{n} · test_resnet · test_efficientnet" for n in range(3))
        assert what == f"student alone ({places} and 1 more)"

    def test_each_reason_has_a_line_of_its_own(self) -> None:
        told = self.told({(0, "student_alone"): "a.", (1, "student_alone"): "b."})
        assert [why for _, why in told] == ["a.", "b."]


def test_a_set_that_lacks_what_judges_it_is_told_by_its_name(screened: Any, tmp_path: Path) -> None:
    (tmp_path / "empty set").mkdir()
    with pytest.raises(UserError, match=r"Nothing is left to compare\. nothing: .*empty set"):
        screened(data={"nothing": str(tmp_path / "empty set")})
