"""Work in order, a few jobs ahead."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from medistill.data.ahead import ahead, cores


def test_results_keep_the_order_of_the_jobs_whoever_is_done_first() -> None:
    def slow_at_first(job: int) -> int:
        time.sleep(0.02 if job == 0 else 0)
        return job

    assert list(ahead(slow_at_first, range(9), threads=3, depth=4)) == list(range(9))


def test_no_job_is_begun_long_before_its_result_is_wanted() -> None:
    begun: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(100):
            begun.append(job)
            yield job

    results = ahead(abs, jobs(), threads=2, depth=3)
    assert next(results) == 0
    assert len(begun) <= 4
    results.close()


def test_an_error_comes_in_its_turn() -> None:
    results = ahead(lambda job: 1 / job, [2, 1, 0, 4], threads=2, depth=3)
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_ends_the_threads() -> None:
    before = threading.active_count()
    results = ahead(lambda job: time.sleep(0.01), range(1000), threads=2, depth=3)
    next(results)
    assert threading.active_count() > before
    results.close()
    assert threading.active_count() == before


def test_threads_work_on_one_core_each_and_leave_the_callers_number_alone() -> None:
    before = torch.get_num_threads()
    counts = set(ahead(lambda job: torch.get_num_threads(), range(4), threads=2, depth=2))
    assert counts == {1}
    assert torch.get_num_threads() == before


def test_there_is_a_core() -> None:
    assert cores() >= 1


def test_a_training_that_begins_after_decoding_has_all_its_cores() -> None:
    work = "list(ahead(lambda job: torch.ones(9).sum(), range(4), threads=2, depth=2));"
    assert _threads_after(work) == _threads_after("")


def _threads_after(work: str) -> str:
    """How many threads torch has in a new process whose first computation comes after the work."""
    code = (
        f"import torch; from medistill.data.ahead import ahead; {work}"
        "print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()
