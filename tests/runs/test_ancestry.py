"""Foundation model, start and student in turn: each run is the next one's source."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medistill.errors import UserError
from medistill.models.teachers import save_features
from medistill.recipe import Recipe, read_recipe
from medistill.results import RunFolder, read_json
from medistill.runs.console import Console
from medistill.runs.evaluate import evaluate
from medistill.runs.export import export
from medistill.runs.train import train
from tests.trained import Phantoms, write_recipe

QUICK = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "threads": 1}


@pytest.fixture
def made(phantoms: Phantoms, tmp_path: Path) -> Any:
    """Makes a recipe that differs from the finished run's in whole sections."""

    def make(**sections: Any) -> Recipe:
        path = write_recipe(tmp_path / "r.yaml", phantoms, **{"training": QUICK, **sections})
        return read_recipe(path)

    return make


def data(phantoms: Phantoms, *roots: Path) -> dict[str, Any]:
    return {"roots": list(map(str, roots)), "size": 32, "views": 2, "store": str(phantoms.store)}


def trained(recipe: Recipe, path: Path) -> RunFolder:
    return train(recipe, path, console=Console(quiet=True))


def test_a_foundation_model_of_two_roots_teaches_a_third(
    made: Any, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = data(phantoms, phantoms.brain, phantoms.chest)
    recipe = made(method="universal_pretraining", data=roots, teacher=None)
    foundation = trained(recipe, tmp_path / "foundation")
    assert foundation.tasks() == ["brain_mr", "chest_xray"]
    assert set(read_json(foundation.sources)) == {"brain_mr", "chest_xray"}
    run = train(made(teacher=f"run:{foundation.path}"), tmp_path / "student")
    assert read_json(run.environment)["teacher"]["random"] is False
    assert "too good" not in capsys.readouterr().out


def test_a_test_set_that_the_teacher_learnt_from_is_warned_of_through_all_ancestors(
    made: Any, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Ten loose images, of which eight are learnt from, are the test images of another set.
    first = trained(
        made(method="universal_pretraining", data=data(phantoms, phantoms.brain), teacher=None),
        tmp_path / "first",
    )
    second = trained(made(teacher=None, method="student_alone", student=f"run:{first.path}"),
                     tmp_path / "second")  # fmt: skip
    copied = tmp_path / "copied"
    for name, part in (("train", phantoms.chest), ("test", phantoms.brain)):
        copied.mkdir(exist_ok=True)
        (copied / name).symlink_to(part, target_is_directory=True)
    train(made(teacher=f"run:{second.path}", data=data(phantoms, copied)), tmp_path / "third")
    said = capsys.readouterr().out
    assert f"test images of copied are, or look like, images that {first.path} learnt from" in said
    findings = read_json(tmp_path / "third" / "data.json")["copied"]["findings"]
    assert [f["kind"] for f in findings].count("shared") >= 1


@pytest.mark.parametrize("labelled", [True, False])
def test_features_learnt_with_or_without_labels_start_a_student(
    made: Any, phantoms: Phantoms, tmp_path: Path, labelled: bool
) -> None:
    roots = [phantoms.breast, phantoms.flat] if labelled else [phantoms.flat]
    recipe = made(method="feature_distillation", data=data(phantoms, *roots))
    run = trained(recipe, tmp_path / "start")
    assert run.tasks() == ["features"]
    assert not run.metrics.exists()
    start = {"name": "timm/test_efficientnet", "start": f"run:{run.path}"}
    student = trained(made(method="student_alone", student=start), tmp_path / "student")
    learnt, grown = (load_file(r.deployed(n).weights) for r, n in
                     ((run, "features"), (student, "breast")))  # fmt: skip
    stem = "encoder.backbone.network.conv_stem.weight"
    assert (learnt[stem] - grown[stem]).abs().max() < 0.02, "it started elsewhere"
    for verb in (evaluate, export):
        with pytest.raises(UserError, match="learnt features without labels"):
            verb(run.path, console=Console(quiet=True))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (5, 2, 2)])
def test_a_file_of_features_teaches_as_well(
    made: Any, phantoms: Phantoms, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    paths = sorted(path.name for path in phantoms.breast.glob("*.png"))
    file = tmp_path / "features.safetensors"
    save_features(file, torch.rand(len(paths), *shape), paths)
    run = trained(made(teacher=f"features:{file}", method="rd"), tmp_path / "run")
    assert run.finished
    assert run.teacher_metrics.exists()


def test_an_image_without_features_is_named_before_the_training(
    made: Any, phantoms: Phantoms, tmp_path: Path
) -> None:
    paths = sorted(path.name for path in phantoms.breast.glob("*.png"))
    file = tmp_path / "features.safetensors"
    save_features(file, torch.rand(len(paths) - 1, 5), paths[1:])
    with pytest.raises(UserError, match=f"1 of {len(paths)} images have no row \\({paths[0]}"):
        trained(made(teacher=f"features:{file}"), tmp_path / "run")
    assert not RunFolder(tmp_path / "run").last.exists()


@pytest.mark.parametrize("method", ["direct_reprogramming", "logit_distillation", "linear_probe"])
def test_each_method_runs_by_the_same_recipe(made: Any, tmp_path: Path, method: str) -> None:
    run = trained(made(method=method), tmp_path / "run")
    assert run.finished
    assert run.metrics.exists()
