"""One process and two: the same weights, one run, one who speaks."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medistill.errors import UserError
from medistill.recipe import read_recipe
from medistill.results import RunFolder
from medistill.runs.console import Console
from medistill.runs.learning import Learning
from medistill.runs.preparing import prepare
from medistill.runs.together import agreed, main_alone, main_first
from medistill.training.checkpoint import load_checkpoint
from tests.trained import Phantoms, write_recipe

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def test_one_process_does_the_work_once_and_gets_its_result() -> None:
    done: list[int] = []
    for form in (main_alone, main_first, agreed):
        assert form(lambda: done.append(1) or len(done)) == len(done)
    assert len(done) == 3


def test_a_slip_of_the_main_process_stops_it() -> None:
    def slip() -> None:
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        main_alone(slip)


def test_a_process_that_is_not_the_main_one_does_no_work_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medistill.runs.together.main_process", lambda: False)
    done: list[int] = []
    assert main_alone(lambda: done.append(1)) is None
    assert done == []
    assert main_first(lambda: done.append(1) or 5) == 5
    assert done == [1]


@pytest.mark.parametrize("said", ["its disk is full", ""])
def test_what_stopped_the_main_process_stops_those_that_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr("medistill.runs.together.main_process", lambda: False)
    monkeypatch.setattr("medistill.runs.together.broadcast_object", lambda value: said)
    with pytest.raises(UserError, match=f"^{said}$"):
        main_first(lambda: 5)


def test_a_full_disk_stays_what_it_is_on_the_main_process() -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        main_alone(full)


def test_two_processes_train_as_one_does_and_write_one_run(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    # Without dropout: each process draws its own.
    # By SGD: Adam divides a gradient of nothing but rounding errors by its own size.
    schedule = {
        "epochs": 2,
        "batch_size": 8,
        "optimizer": "sgd",
        "learning_rate": 0.02,
        "threads": 1,
    }
    file = write_recipe(tmp_path / "r.yaml", phantoms, method="rd", training=schedule)
    alone, both = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "both")
    job = prepare(read_recipe(file), alone, torch.device("cpu"), Console(quiet=True))
    Learning(job).learn()
    said = _torchrun_until_deployed(["train", str(file), "--out", str(both.path)], both)
    assert said.count("training 2/2") == 1
    ours = load_file(both.deployed("breast").weights)
    theirs = load_checkpoint(alone.best).method
    for name, tensor in ours.items():
        # Sums in another order, over six steps of a network with batch norms.
        assert torch.allclose(tensor, theirs[f"student.{name}"], rtol=1e-3, atol=1e-4), name


def _torchrun_until_deployed(arguments: list[str], run: RunFolder) -> str:
    """What was printed until the trained network lay in the run's folder."""
    printed = run.path.with_suffix(".txt")
    with printed.open("w") as log:
        process = subprocess.Popen(
            [*TORCHRUN, "-m", "medistill", *arguments],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not run.deployed("breast").config.exists():
            assert process.poll() is None, printed.read_text()
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return printed.read_text()
