"""A method of several stages is given the recipe's epochs, and its schedule, in each of them."""

from pathlib import Path

import pytest

from medistill.recipe import read_recipe
from medistill.results import RunFolder, read_json, read_jsonl
from medistill.runs.console import Console
from medistill.runs.train import train
from tests.trained import Phantoms, quick_finish, write_recipe


def test_the_student_of_direct_reprogramming_has_all_epochs_and_the_whole_schedule(
    phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_finish(monkeypatch)
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "threads": 1, "warmup": 1}
    changes = {"method": "direct", "training": {**training, "schedule": "cosine"}}
    recipe = write_recipe(tmp_path / "recipe.yaml", phantoms, **changes)
    run = RunFolder(tmp_path / "run")
    train(read_recipe(recipe), out=run.path, console=Console(quiet=True))
    log = read_jsonl(run.log)
    assert [record["epoch"] for record in log] == [1, 2, 3, 4]
    assert [set(record["losses"]) for record in log] == [
        *2 * [{"reprogrammed"}],
        *2 * [{"student", "logits"}],
    ]
    rates = [record["learning_rate"] for record in log]
    assert rates[:2] == rates[2:]
    assert rates[1] < rates[0]
    assert ["validation" in record for record in log] == [False, False, True, True]
    assert "4 epochs in stages of 2" in run.report.read_text(encoding="utf-8")
    assert read_json(run.expense)["step_seconds"] > 0
