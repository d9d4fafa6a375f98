"""Ways of training segmenters are compared as those of classifiers are."""

from pathlib import Path
from typing import Any

import pytest

from medistill.errors import UserError
from medistill.recipe import Recipe, read_recipe, validate
from medistill.results import read_json, read_metrics
from medistill.runs.compare import compare
from medistill.runs.console import Console
from medistill.runs.train import train
from tests.attempts import Here
from tests.phantom_volumes import make_msd, make_nnunet
from tests.trained import Phantoms

QUIET = Console(quiet=True)
STUDENT = {
    "name": "sat/unet",
    "options": {"widths": [4, 8], "convs": 1, "hidden": 16, "heads": 2, "layers": 1},
}


def recipe_of(folder: Path, roots: Any, **compared: Any) -> Recipe:
    return validate({
        "data": {"roots": roots, "store": str(folder / "store"), "patch": [8, 8, 8], "steps": 2},
        "student": STUDENT,
        "method": "multi_task",
        "training": {
            "epochs": 1, "batch_size": 4, "learning_rate": 1e-2, "threads": 1, "select": "dice",
        },
        "evaluation": {"draws": 20},
        "compare": {"seeds": [0, 1], **compared},
    })  # fmt: skip


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    folder = tmp_path_factory.mktemp("scans")
    made = {"brain": make_msd(folder / "brain"), "abdomen": make_nnunet(folder / "abdomen")}
    return {name: {"root": str(path)} for name, path in made.items()}


def test_outlines_of_two_regions_are_compared_to_a_page(
    roots: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medistill.runs.volumes.finishing.export_task", lambda *_: "not exported")
    recipe = recipe_of(tmp_path, roots, methods=["multi_task", "pcgrad"])
    page = compare(recipe, tmp_path / "out", console=QUIET, begin=Here()).read_text()
    found = read_json(tmp_path / "out" / "comparison.json")
    assert (found["metric"], found["samples"]) == ("dice", "volumes")
    (block,) = found["standings"]
    assert block["images"] == {"train": 12, "validation": 2, "test": 4}
    rows = {row["label"]: row for row in block["rows"]}
    assert set(rows) == {"STL", "MTL"}
    for name, row in rows.items():
        assert {"dice", "surface_dice"} <= set(row["metrics"])
        cells = [tmp_path / "out" / "cells" / cell / "metrics.json" for cell in row["runs"]]
        values = [
            sum(task["dice"]["value"] for task in read_metrics(cell)["test"].values()) / 2
            for cell in cells
        ]
        assert row["metrics"]["dice"]["mean"] == pytest.approx(sum(values) / 2), name
    assert rows["MTL"]["together"]["parameters"] < rows["STL"]["together"]["parameters"]
    assert [what for what, _ in found["absent"]] == ["PCGrad"]
    assert "volumes anew" in page
    assert "test images" not in page


def test_images_and_volumes_are_compared_apart(
    roots: Any, phantoms: Phantoms, tmp_path: Path
) -> None:
    data = {"scans": roots["brain"], "pictures": {"root": str(phantoms.breast)}}
    recipe = recipe_of(tmp_path, {"scans": roots["brain"]}, data=data, methods=["student_alone"])
    with pytest.raises(UserError, match="scans holds volumes, and other sets hold images"):
        compare(recipe, tmp_path / "out", console=QUIET, begin=Here())


def test_what_no_network_takes_is_said_before_any_run(roots: Any, tmp_path: Path) -> None:
    teachers = {"blank": {**STUDENT, "weights": "random"}}
    recipe = recipe_of(tmp_path, roots, methods=["mtl_kd"], teachers=teachers)
    data = recipe.data.model_copy(update={"patch": (7, 8, 8)})
    with pytest.raises(UserError, match=r"data.patch \[7, 8, 8\]: 7 is no multiple of 2"):
        compare(recipe.model_copy(update={"data": data}), tmp_path / "out", console=QUIET)
    assert not (tmp_path / "out" / "cells").exists()


def test_students_start_from_the_network_of_their_region(
    roots: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medistill.runs.volumes.finishing.export_task", lambda *_: "not exported")
    large = {**STUDENT, "options": {**STUDENT["options"], "widths": [6, 8]}}
    for name, student in (("single_task", STUDENT), ("multi_task", large)):
        before = recipe_of(tmp_path, roots).model_dump(mode="json")
        made = validate({**before, "student": student, "method": name, "compare": None})
        train(made, tmp_path / name, console=QUIET)
    pretrained = {"STL": f"run:{tmp_path}/single_task", "large": f"run:{tmp_path}/multi_task"}
    data = {"later": {**roots["brain"], "region": "brain"}}
    recipe = recipe_of(
        tmp_path, roots, data=data, methods=["student_alone"], pretrained=pretrained, seeds=[0]
    )
    compare(recipe, tmp_path / "out", console=QUIET, begin=Here())
    (block,) = read_json(tmp_path / "out" / "comparison.json")["standings"]
    small = {row["label"]: row["student"] for row in block["rows"]}
    assert small == {"student alone": True, "STL": True, "large": False}
    started = read_recipe(next((tmp_path / "out" / "cells").glob("*STL*")) / "recipe.yaml")
    assert started.student.task == "brain"
