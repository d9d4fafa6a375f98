"""What a training takes: steps and memory, validation left out."""

from mmap import mmap
from pathlib import Path

import pytest
import torch

from medistill.results import read_json
from medistill.runs import expense
from medistill.runs.expense import Meter
from medistill.runs.learning import Progress
from tests.trained import Finished

CPU = torch.device("cpu")
BLOCK = 64 * 2**20  # bytes
STATUS = "Name:\tpython\nVmHWM:\t  3000 kB\nRssFile:\t  1000 kB\nThreads:\t1\n"


def test_a_pause_of_the_machine_is_no_part_of_a_step() -> None:
    meter = Meter(CPU)
    for seconds in (0.1, 0.2, 60.0):
        meter.step(seconds)
    assert meter.seconds() == 0.2
    meter.reset()
    meter.step(0.4)
    assert meter.seconds() == 0.4


@pytest.mark.skipif(not expense.RESET.exists(), reason="a thing of Linux")
def test_the_peak_counts_what_was_freed_and_forgets_it_with_a_reset() -> None:
    meter = Meter(CPU)
    before = meter.peak_bytes()
    with mmap(-1, BLOCK) as fresh:  # torch might be given pages that were freed before
        fresh.write(bytes(1) * BLOCK)
    after = meter.peak_bytes()
    meter.reset()
    again = meter.peak_bytes()
    assert before is not None
    assert after is not None
    assert again is not None
    # Other tests' garbage may be freed meanwhile: half of the block is enough to see it.
    assert after - before > BLOCK / 2
    assert after - again > BLOCK / 2


def test_mapped_files_are_no_memory_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "status").write_text(STATUS)
    monkeypatch.setattr(expense, "STATUS", tmp_path / "status")
    assert Meter(CPU).peak_bytes() == 2000 * 1024


def test_where_there_is_no_proc_the_whole_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expense, "STATUS", Path("/nowhere"))
    monkeypatch.setattr(expense, "RESET", Path("/nowhere/else"))
    peak = Meter(CPU).peak_bytes()
    assert peak is not None
    assert peak > 2**20


def test_epochs_are_remembered_over_a_resume() -> None:
    progress = Progress(step_seconds=[0.3], peak_bytes=2**60)
    meter = Meter(CPU)
    meter.step(0.1)
    progress.measure(meter)
    assert progress.step_seconds == [0.3, 0.1]
    assert progress.peak_bytes == 2**60


def test_a_run_writes_what_it_took(finished: Finished) -> None:
    found = read_json(finished.path / "expense.json")
    assert 0 < found["step_seconds"] < 60
    assert found["peak_bytes"] > 2**20
    assert (found["batch_size"], found["device"]) == (8, "cpu")


@pytest.mark.parametrize("status", ["Name:\tpython\nVmRSS:\t 3000 kB\n", ""])
def test_a_sandbox_that_tells_no_peak_leaves_that_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    (tmp_path / "status").write_text(status)
    monkeypatch.setattr(expense, "STATUS", tmp_path / "status")
    peak = Meter(CPU).peak_bytes()
    assert peak is not None
    assert peak > 2**20
