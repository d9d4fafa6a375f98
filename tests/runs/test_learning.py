"""Real processes, stopped in every way: what `--resume` promises."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medistill.results import RunFolder, read_jsonl
from medistill.runs.console import Console
from medistill.runs.learning import Progress, standing
from medistill.runs.train import train
from medistill.runs.validating import LAST, Verdict
from medistill.training.checkpoint import load_checkpoint
from tests.trained import Finished, Phantoms, write_recipe

from .several import asked

OFFLINE = """\
import socket

def refused(*_, **__):
    raise OSError("no network in this test")

socket.socket.connect = refused
socket.getaddrinfo = refused
"""


DYING = """\
import os, signal
from medistill.runs import learning

learning.SAVE_SECONDS = 0.0
written = learning.append_jsonl

def killed(path, record):
    written(path, record)
    if record["epoch"] == EPOCH:
        os.kill(os.getpid(), signal.SIGKILL)

learning.append_jsonl = killed
"""


class Training:
    """A `medistill train` in a process of its own, without a network."""

    def __init__(
        self, recipe: Path, run: RunFolder, folder: Path, *options: str, more: str = ""
    ) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(OFFLINE + more)
        self.log = folder / "printed.txt"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "medistill", "train", recipe, "--out", run.path, *options],
                env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill_when(self, path: Path, *, after_seconds: float = 0.0) -> None:
        """SIGKILL, so many seconds after a file appeared."""
        try:
            while not path.exists():
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.01)
            time.sleep(after_seconds)
        finally:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def test_a_training_killed_early_and_again_midway_ends_with_the_very_same_weights(
    finished: Finished, phantoms: Phantoms, tmp_path: Path
) -> None:
    # A store of its own, so that the teacher is asked anew, and killed while it answers.
    mine = phantoms._replace(store=tmp_path / "store")
    recipe = write_recipe(tmp_path / "recipe.yaml", mine)
    run, site = RunFolder(tmp_path / "run"), tmp_path / "site"
    Training(recipe, run, site).kill_when(run.recipe)
    assert not run.last.exists(), "killed after the first checkpoint, not before"
    again = Training(recipe, run, site, "--resume")
    again.kill_when(run.last, after_seconds=random.SystemRandom().uniform(0, 1))
    # Deployed right after the training; the rest of the way has tests of its own.
    Training(recipe, run, site, "--resume").kill_when(run.deployed("breast").config)
    ours = run.deployed("breast").weights.read_bytes()
    theirs = RunFolder(finished.path).deployed("breast").weights.read_bytes()
    assert ours == theirs
    assert read_jsonl(run.log) == read_jsonl(finished.path / "log.jsonl")


def test_experts_killed_before_and_after_their_ranks_change_end_with_the_very_same_weights(
    phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    star = {"allocation": "loss_reduction", "rank": 16}
    recipe = asked(
        tmp_path,
        phantoms,
        teacher={"name": "timm/test_resnet", "weights": "random", "grid": 1},
        method={"name": "lorkd", "experts": star, "warmup": 0.5},
        training={"epochs": 4, "batch_size": 16, "learning_rate": 1e-2, "threads": 1},
    )
    run, site, ranks = RunFolder(tmp_path / "run"), tmp_path / "site", []
    # It dies between the log of an epoch and its checkpoint; ranks change after two epochs.
    for epoch, options in ((2, ()), (4, ("--resume",))):
        training = Training(
            tmp_path / "recipe.yaml", run, site, *options, more=DYING.replace("EPOCH", str(epoch))
        )
        assert training.process.wait() == -signal.SIGKILL, training.log.read_text()
        state = load_checkpoint(run.last).method
        assert state["record._extra_state"]["open"] == (epoch == 2)
        ranks.append(state["decomposed._extra_state"]["ranks"])
    assert ranks[0] == [16, 16] != ranks[1], ranks
    monkeypatch.setattr("medistill.runs.train.finish", lambda *_, **__: None)  # has its own tests
    quiet = Console(quiet=True)
    train(recipe, run.path, resume=True, console=quiet)
    whole = train(recipe, tmp_path / "whole", console=quiet)
    for name in ("last", "best"):
        ours, theirs = (load_checkpoint(getattr(each, name)).method for each in (run, whole))
        assert ours.keys() == theirs.keys()
        tensors = [key for key, value in theirs.items() if isinstance(value, torch.Tensor)]
        assert all(torch.equal(ours[key], theirs[key]) for key in tensors)
        assert ours["decomposed._extra_state"] == theirs["decomposed._extra_state"]
    assert read_jsonl(run.log) == read_jsonl(whole.log)


def test_a_sum_over_an_epoch_begins_anew() -> None:
    progress = Progress()
    progress.add({"student": 1.0})
    progress.add({"student": 2.0})
    assert progress.means() == {"student": 1.5}
    progress.add({"student": 4.0})
    assert progress.means() == {"student": 4.0}


def test_an_epoch_that_is_not_chosen_is_told_by_its_accuracy_alone() -> None:
    found = Verdict({"a": {"accuracy": 0.5}, "b": {"accuracy": 0.75}}, merit=0.9)
    assert standing(LAST, found, Progress(best=0.9, best_epoch=3)) == "accuracy 0.625"
    outlined = Verdict({"brain": {"dice": 0.5}, "heart": {"dice": None}}, 0.5)
    assert standing(LAST, outlined, Progress()) == "dice 0.500"
    assert standing("auroc", found, Progress(best=0.9, best_epoch=3)) == (
        "auroc 0.900 (best 0.900 in epoch 3)"
    )
