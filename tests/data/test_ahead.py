"""Work in order, a few jobs ahead."""

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
