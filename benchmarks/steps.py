"""What the benchmarks share: steps that take turns, on one of two clocks."""

import time
from collections.abc import Callable

import torch

from medistill.methods.base import Method
from medistill.types import Batch

# The processor's time is for a machine that other work keeps busy, on one thread.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

Step = Callable[[], object]


def training_step(method: Method, batch: Callable[[], Batch]) -> Step:
    """Forward, backward and AdamW.

    Args:
        method: Trained, in training mode.
        batch: Makes that of each step.
    """
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-4)
    method.train()

    def step() -> None:
        optimizer.zero_grad()
        method.backward(method.losses(batch(), 0.5))
        optimizer.step()

    return step


def in_turns(steps: dict[str, Step], clock: str, rounds: int) -> list[dict[str, float]]:
    """Seconds of each step, round by round; a first round warms and is left out."""
    return [_round(steps, CLOCKS[clock]) for _ in range(rounds + 1)][1:]


def _round(steps: dict[str, Step], clock: Callable[[], float]) -> dict[str, float]:
    times = {}
    for name, step in steps.items():
        start = clock()
        step()
        times[name] = clock() - start
    return times
