"""One step down the losses of a method."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from medistill.errors import UserError
from medistill.methods.base import Method
from medistill.training.checkpoint import Checkpoint
from medistill.training.devices import Arithmetic, place, placed
from medistill.training.distributed import average, gathered_objects, rank
from medistill.training.optimizers import NonFinite, follow
from medistill.training.randomness import RandomState, restore_random_state
from medistill.training.replica import Replica
from medistill.types import Batch


@dataclass
class Descent:
    """A method, what moves its weights, and the arithmetic it is done in.

    Args:
        method: What is trained; it is moved to the device of the arithmetic.
        optimizer: Holds the method's parameters; follows when the method changes them.
        arithmetic: Device and precision.
    """

    method: Method
    optimizer: Optimizer
    arithmetic: Arithmetic
    replica: Replica = field(init=False)
    learning_rates: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.replica = Replica(self.method)
        self.learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        place(self.method, self.arithmetic.device)
        follow(self.optimizer, self.method)

    def step(self, batch: Batch, progress: float, share: float) -> dict[str, float]:
        """Take a step and say the losses that it started from, over the batch of all processes.

        Args:
            batch: This process's samples.
            progress: Share of the training behind us.
            share: Share of the learning rate to take.

        Raises:
            NonFinite: A loss is NaN or infinite, or the gradient where it is clipped. The weights
                are those of the step before; batch statistics may have seen the bad numbers.
        """
        for group, rate in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
            group["lr"] = rate * share
        self.method.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.arithmetic.autocast():
            losses = self.replica.losses(placed(batch, self.arithmetic.device), progress)
        values = _finite_values(losses)
        changed = follow(self.optimizer, self.method)
        self.replica.backward(self.arithmetic.scaled(losses))
        self.arithmetic.scaler.step(self.optimizer)
        self.arithmetic.scaler.update()
        if changed:
            # As after a resume, so that new weights lie in memory the same way in both.
            place(self.method, self.arithmetic.device)
        return values

    def checkpoint(self, step: int, steps_per_epoch: int, random: RandomState) -> Checkpoint:
        """The state after a number of steps; all processes ask for it together."""
        return Checkpoint(
            method=self.method.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.arithmetic.scaler.state_dict(),
            step=step,
            steps_per_epoch=steps_per_epoch,
            random=gathered_objects(random),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint.

        Raises:
            UserError: It was made by another method, student or optimiser.
        """
        try:
            self.method.load_state_dict(checkpoint.method)
            place(self.method, self.arithmetic.device)
            follow(self.optimizer, self.method)
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.arithmetic.scaler.load_state_dict(checkpoint.scaler)
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(
                f"The checkpoint does not fit {type(self.method).__name__} "
                f"({' '.join(str(error).split())[:200]}). Resume with the recipe it was made with."
            ) from error
        if rank() < len(checkpoint.random):
            restore_random_state(checkpoint.random[rank()])


def _finite_values(losses: dict[str, Tensor]) -> dict[str, float]:
    """The losses as numbers, in one synchronisation with the device and one between processes."""
    values = torch.stack([loss.detach().float() for loss in losses.values()])
    # The mean is bad on all processes as soon as one is, so that all stop and none waits.
    average([values])
    named = dict(zip(losses, values.tolist(), strict=True))
    for name, value in named.items():
        if not math.isfinite(value):
            raise NonFinite(f"loss {name!r}, {value},")
    return named
