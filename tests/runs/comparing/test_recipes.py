"""The comparisons that come with the project ask for what there is."""

from pathlib import Path

import pytest

from medistill.assemble import method_settings
from medistill.recipe import read_recipe
from medistill.runs.comparing.asking import grid_of, with_flags
from medistill.runs.comparing.grid import wanted

ROOT = Path(__file__).parents[3]
RECIPES = sorted(ROOT.glob("recipes/**/*.yaml"))
COMPARING = [path for path in RECIPES if "\ncompare:" in path.read_text(encoding="utf-8")]
SEVERAL = ("compare-tasks", "compare-ranks", "table-iv", "table-viii")


@pytest.mark.parametrize("path", COMPARING, ids=lambda path: path.stem)
def test_every_run_that_is_asked_for_has_a_recipe(path: Path, tmp_path: Path) -> None:
    grid = grid_of(read_recipe(path), tmp_path)
    # One of each kind: what blocks and seeds change is no matter of the recipe.
    cells = {cell.entry: cell for cell in wanted(grid, {})}
    assert set(cells) <= set(grid.entries)
    for cell in cells.values():
        # A start from a run that is not there is left out before anything runs.
        if not grid.entries[cell.entry].origins:
            method_settings(grid.recipe(cell))


@pytest.mark.parametrize("path", COMPARING, ids=lambda path: path.stem)
def test_every_method_may_join(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path)
    own = grid_of(recipe, tmp_path).entries
    assert set(own) <= set(grid_of(with_flags(recipe, {"methods": ("all",)}), tmp_path).entries)


@pytest.mark.parametrize("stem", ["quick-compare", "table3", "table4"])
def test_training_is_measured_by_full_fine_tuning_of_the_foundation_model(
    stem: str, tmp_path: Path
) -> None:
    (path,) = (path for path in COMPARING if path.stem == stem)
    grid = grid_of(read_recipe(path), tmp_path)
    full = grid.entries["full"]
    assert (full.method, full.makes_student) == ("full_fine_tuning", False)
    for block, entry in grid.competing():
        if entry is full and block.teacher:
            made = grid.recipe_of(block, entry)
            assert made.student.name == grid.teachers[block.teacher]["name"]


@pytest.mark.parametrize("stem", SEVERAL)
def test_those_of_several_tasks_train_them_together(stem: str, tmp_path: Path) -> None:
    (path,) = (path for path in COMPARING if path.stem == stem)
    grid = grid_of(read_recipe(path), tmp_path)
    assert all(grid.several(data) for data in grid.sets)
    assert grid.reference == "single_task"


@pytest.mark.parametrize("path", COMPARING, ids=lambda path: path.stem)
def test_no_set_stands_beside_its_small_copy(path: Path, tmp_path: Path) -> None:
    grid = grid_of(read_recipe(path), tmp_path)
    for data in grid.sets:
        roots = {Path(str(root["root"])).stem for root in grid.roots(data).values()}
        for large, small in (("busi", "breastmnist"), ("chest_xray_pneumonia", "pneumoniamnist")):
            assert not {large, small} <= roots, f"{data} counts {large} twice"
