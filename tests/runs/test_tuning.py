"""A foundation model is tuned, and the tuned one distilled: two recipes run in turn."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medistill.data.loading import Loader
from medistill.data.order import IN_ORDER
from medistill.models.adapters.base import AdaptedEncoder
from medistill.recipe import Recipe, read_recipe
from medistill.results import RunFolder, read_json, read_metrics
from medistill.runs.analyze import Depth, analyze
from medistill.runs.console import Console
from medistill.runs.load import load
from medistill.runs.preparing import prepare
from medistill.runs.train import train
from tests.trained import Phantoms, quick_finish, write_recipe

QUICK = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "threads": 1}
FOUNDATION = {"name": "timm/test_vit", "options": {"img_size": 32}, "weights": "random"}


@pytest.fixture
def made(phantoms: Phantoms, tmp_path: Path) -> Any:
    """Makes a recipe that differs from the finished run's in whole sections."""

    def make(**sections: Any) -> Recipe:
        path = write_recipe(tmp_path / "r.yaml", phantoms, **{"training": QUICK, **sections})
        return read_recipe(path)

    return make


@pytest.fixture
def tuned(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A foundation model tuned by queries: its features are longer than its maps are wide."""
    quick_finish(monkeypatch)
    recipe = made(method="vqt", student=FOUNDATION, teacher=None)
    return train(recipe, tmp_path / "tuned", console=Console(quiet=True))


def accuracies(file: Path) -> dict[str, float]:
    return {split: of["breast"]["accuracy"]["value"] for split, of in read_metrics(file).items()}


def test_a_tuned_model_teaches_with_its_own_head(
    tuned: RunFolder, made: Any, tmp_path: Path
) -> None:
    network = load(tuned.path)
    assert isinstance(network.encoder, AdaptedEncoder)
    recipe = made(method="kd", teacher=f"run:{tuned.path}")
    run = train(recipe, tmp_path / "student", console=Console(quiet=True))
    own = load_file(run.probe)
    assert torch.equal(own["weight"], network.head.weight)
    assert torch.equal(own["bias"], network.head.bias)
    assert accuracies(run.teacher_metrics) == accuracies(tuned.metrics)
    assert not isinstance(load(run.path).encoder, AdaptedEncoder)


def test_where_a_tuned_model_looked_is_drawn(tuned: RunFolder) -> None:
    analyze([tuned.path], depth=Depth(triplets=0, overlays=2), console=Console(quiet=True))
    drawn = read_json(tuned.analysis)["overlays"]
    assert drawn["names"] == ["tuned"]
    assert len(drawn["images"]) == len(list((tuned.analysis.parent / "overlays").iterdir())) == 2


@pytest.mark.parametrize("grid", [1, 2])
def test_features_and_maps_of_a_tuned_model_are_reprogrammed(
    tuned: RunFolder, made: Any, tmp_path: Path, grid: int
) -> None:
    recipe = made(teacher={"name": f"run:{tuned.path}", "grid": grid})
    cpu, console = torch.device("cpu"), Console(quiet=True)
    job = prepare(recipe, RunFolder(tmp_path / "student"), cpu, console)
    assert job.teaching is not None
    assert job.teaching.teacher.width == 64 * (1 + 6)
    assert job.teaching.teacher.map_shape == (None if grid == 1 else (64, 2, 2))
    (one,) = job.opened
    batch = next(iter(Loader([one.dataset], "validation", batch_size=4, order=IN_ORDER).epoch(0)))
    losses = job.method.losses(batch, 0.5)
    assert all(loss.isfinite() for loss in losses.values())
