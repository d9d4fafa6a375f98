"""Recipes of three tiny tasks that are trained together, two of them of one region."""

from pathlib import Path
from typing import Any

from medistill.recipe import Recipe, read_recipe
from tests.trained import Phantoms, write_recipe

FOUNDATION = {"method": "universal_pretraining", "student": {"name": "timm/test_resnet"}}


def roots_of(phantoms: Phantoms) -> dict[str, Any]:
    return {
        "brain": {"root": str(phantoms.brain)},
        "breast": {"root": str(phantoms.breast), "region": "torso"},
        "chest": {"root": str(phantoms.chest), "region": "torso"},
    }


def asked(folder: Path, phantoms: Phantoms, **changes: Any) -> Recipe:
    """Three tasks that are trained together."""
    data = {
        "roots": roots_of(phantoms), "size": 32, "views": 2, "store": str(phantoms.store),
        "task_sampling": "balanced",
    }  # fmt: skip
    training = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "threads": 1}
    sections = {"teacher": None, "method": {"name": "multi_task"}, "training": training, **changes}
    return read_recipe(write_recipe(folder / "recipe.yaml", phantoms, data=data, **sections))
