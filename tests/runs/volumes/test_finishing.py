"""What a run on volumes leaves for others to start from."""

from pathlib import Path

import pytest

from medistill.recipe import validate
from medistill.results import read_json
from medistill.runs.train import train
from tests.phantom_volumes import make_msd

OPTIONS = {"widths": [4, 8], "convs": 1, "hidden": 16, "heads": 2, "layers": 1}
NETWORK = {"name": "sat/unet", "options": OPTIONS}


def test_one_expert_gives_nobody_else_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medistill.runs.volumes.finishing.export_task", lambda *_: "not exported")
    monkeypatch.setattr("medistill.runs.volumes.finishing.save_costs", lambda *_: None)
    root = make_msd(tmp_path / "brain")
    recipe = validate({
        "data": {
            "root": str(root), "store": str(tmp_path / "store"), "patch": [8, 8, 8], "steps": 2,
        },
        "teacher": {**NETWORK, "weights": "random"},
        "student": NETWORK,
        "method": {"name": "lorkd", "experts": {"rank": 2}},
        "training": {"epochs": 1, "batch_size": 2, "threads": 1, "select": "dice"},
        "evaluation": {"draws": 5},
    })  # fmt: skip
    run = train(recipe, tmp_path / "run")
    (task,) = run.tasks()
    config = read_json(run.deployed(task).config)
    assert run.deployed("shared").config.exists()
    assert (config["shared_encoder"], config["region"]) == (False, task)
