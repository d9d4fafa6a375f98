"""Work done in order, by threads that stay a few jobs ahead of who wants the results."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ahead(
    work: Callable[[Job], Result], jobs: Iterable[Job], *, threads: int, depth: int
) -> Generator[Result, None, None]:
    """The result of each job, in the order of the jobs.

    An error in a thread is raised here, in its job's turn. Closing the generator drops the jobs
    that have not begun.

    Args:
        work: What is done with a job; worth a thread where it leaves the interpreter's lock.
        jobs: Taken only as fast as results are.
        threads: How many work at once.
        depth: How many jobs are begun before the first result is asked for.
    """
    # Asked before any thread of ours says 1: a thread that computes for the first time, as the
    # caller may, takes the number that was said last.
    own = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead", initializer=_one_core)
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(own)


def _one_core() -> None:
    # A team of threads below each of ours would fight for the cores with the others and with the
    # training itself: on two busy cores that was ten times slower. This leaves the caller's number.
    torch.set_num_threads(1)
