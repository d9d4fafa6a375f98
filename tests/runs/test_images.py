"""Images that would spoil a result stop a training before it begins."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from medistill.errors import UserError
from medistill.recipe import Recipe, validate
from medistill.results import RunFolder, read_json
from medistill.runs.console import Console
from medistill.runs.images import open_images, refuse_or_warn
from medistill.runs.train import train
from tests.trained import Phantoms


@pytest.fixture
def torn(phantoms: Phantoms, tmp_path: Path) -> Path:
    images = Path(shutil.copytree(phantoms.brain, tmp_path / "images"))
    for number in range(5):
        (images / "smooth" / f"torn-{number}.png").write_bytes(b"no image")
    return images


def recipe(root: Path, phantoms: Phantoms, **data: Any) -> Recipe:
    settings = {"root": str(root), "size": 32, "views": 1, "store": str(phantoms.store), **data}
    schedule = {"epochs": 1, "batch_size": 8}
    return validate({
        "data": settings, "student": "timm/test_efficientnet", "method": "student_alone",
        "training": schedule,
    })  # fmt: skip


def looked_through(asked: Recipe) -> None:
    console = Console()
    refuse_or_warn(open_images(asked, None, console), asked, console)


def test_files_that_cannot_be_read_are_named_with_the_way_out(
    torn: Path, phantoms: Phantoms
) -> None:
    with pytest.raises(UserError) as error:
        looked_through(recipe(torn, phantoms))
    said = str(error.value)
    assert "smooth/torn-0.png" in said
    assert "and 2 more" in said
    assert said.endswith("leave them out with data.skip_unreadable: true.")
    assert "\n" not in said


def test_they_are_left_out_where_the_recipe_says_so_and_no_file_of_the_run_names_them(
    torn: Path, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe(torn, phantoms, skip_unreadable=True), tmp_path / "run")
    assert "warning: images: " in capsys.readouterr().out
    counts = read_json(RunFolder(tmp_path / "run").data)["images"]["counts"]
    assert sum(sum(split.values()) for split in counts.values()) == 24
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"torn-" not in path.read_bytes(), path


def test_a_patient_in_two_official_splits_is_warned_of(
    phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, root in (("train", phantoms.brain), ("test", phantoms.chest)):
        shutil.copytree(root, tmp_path / "both" / split)
    looked_through(recipe(tmp_path / "both", phantoms, patient_pattern=r"(\d{4})\.png"))
    said = capsys.readouterr().out
    assert "warning: both: " in said
    assert "patient" in said
