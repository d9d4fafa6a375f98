"""The one training loop: a generator, so that the caller logs, validates, saves or stops."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Protocol, runtime_checkable

import torch
from torch.optim import Optimizer

from medistill.errors import Failure, UserError
from medistill.methods.base import Method
from medistill.training.checkpoint import Checkpoint
from medistill.training.descent import Descent
from medistill.training.devices import Arithmetic, Precision
from medistill.training.optimizers import NonFinite, Schedule, constant
from medistill.training.randomness import random_state, restore_random_state
from medistill.types import Batch


@runtime_checkable
class Batches(Protocol):
    """The training data, in an order that depends on nothing but the epoch."""

    def __len__(self) -> int:
        """Steps in an epoch, the same in every process."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """This process's share of each batch."""


@dataclass(frozen=True)
class Step:
    """One finished step.

    Args:
        epoch: Its epoch, from 0.
        step: How many steps are finished, this one included.
        steps: How many the whole training has.
        progress: Share of the training before this step, in [0, 1): what the method was told.
        learning_rate: What the first group of the optimiser took.
        losses: The terms before the step, weighted, over the batch of all processes.
        seconds: Time it took, the wait for its batch included.
        end_of_epoch: Whether it is the last of its epoch.
        checkpoint: Gives the state to save. Every process calls it, one saves what it gives.
    """

    epoch: int
    step: int
    steps: int
    progress: float
    learning_rate: float
    losses: dict[str, float]
    seconds: float
    end_of_epoch: bool
    checkpoint: Callable[[], Checkpoint] = field(repr=False)


class NonFiniteLoss(Failure):
    """A loss or the gradient became NaN or infinite; the weights are those of the step before.

    Batch statistics may have seen the bad numbers: go back to the last checkpoint.

    Args:
        term: What went first.
        epoch: In which epoch, from 0.
        step: How many steps were finished before.
    """

    def __init__(self, term: str, epoch: int, step: int) -> None:
        super().__init__(
            f"Not a finite number: {term} in epoch {epoch}, after {step} steps. The last "
            "checkpoint is intact. Lower training.learning_rate, or set training.gradient_clip."
        )
        self.term = term
        self.epoch = epoch
        self.step = step


def fit(
    method: Method,
    loader: Batches,
    optimizer: Optimizer,
    *,
    epochs: int,
    schedule: Schedule = constant,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
    resume: Checkpoint | None = None,
) -> Iterator[Step]:
    """Train; yield after each step.

    What the caller does between two steps (validate, save, draw random numbers, set modules to
    evaluation) does not change the training. On a CPU with a fixed number of threads, a training
    resumed from any step's checkpoint gives bit for bit the weights of one that never stopped.

    Args:
        method: Moved to the device and trained in place.
        loader: Batches on the CPU; under several processes, this process's share of each.
        optimizer: Over the method's parameters, with the peak of the learning rate.
        epochs: Passes through the data, those before a resume included.
        schedule: Share of the learning rate for each step.
        device: Where to compute.
        precision: What the networks compute in; losses and weights stay fp32.
        resume: Where to go on. Method, loader and optimiser come as they were at the beginning.

    Raises:
        UserError: The checkpoint does not fit.
        NonFiniteLoss: While iterating.
    """
    descent = Descent(method, optimizer, Arithmetic(precision, torch.device(device)))
    if resume is None:
        return _steps(descent, loader, epochs, schedule, done=0)
    if resume.steps_per_epoch != len(loader):
        raise UserError(
            f"The checkpoint has {resume.steps_per_epoch} steps in an epoch, the data now gives "
            f"{len(loader)}. Resume with the same data and batch size."
        )
    descent.restore(resume)
    return _steps(descent, loader, epochs, schedule, done=resume.step)


def _steps(
    descent: Descent, loader: Batches, epochs: int, schedule: Schedule, done: int
) -> Iterator[Step]:
    length = len(loader)
    steps = epochs * length
    for epoch in range(done // length, epochs):
        started = time.perf_counter()
        positions = range(done, (epoch + 1) * length)
        # A resume within an epoch passes over what was already seen of it.
        batches = islice(loader.epoch(epoch), done - epoch * length, None)
        for position, batch in zip(positions, batches, strict=True):
            progress = position / steps
            try:
                losses = descent.step(batch, progress, schedule(position, steps))
            except NonFinite as error:
                raise NonFiniteLoss(error.term, epoch, position) from None
            done = position + 1
            random = random_state()
            yield Step(
                epoch=epoch,
                step=done,
                steps=steps,
                progress=progress,
                learning_rate=descent.optimizer.param_groups[0]["lr"],
                losses=losses,
                seconds=time.perf_counter() - started,
                end_of_epoch=done % length == 0,
                checkpoint=partial(descent.checkpoint, done, length, random),
            )
            restore_random_state(random)
            started = time.perf_counter()
