"""What methods of several tasks share: heads, losses told apart by task, and a batch's parts."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.losses.collective import anywhere, processes, whole_batch_mean
from medistill.losses.precision import at_least_float32
from medistill.losses.supervised import UNLABELLED, each_cross_entropy
from medistill.methods._words import name_of
from medistill.methods.base import Method
from medistill.models.networks import Encoder, Student
from medistill.types import Batch, Task


class Heads(nn.Module):
    """One Linear per task on features of one width; a sample is judged by that of its task.

    Args:
        width: Length of the features.
        tasks: In the order of `Batch.tasks`; one without labels gets no Linear.
    """

    def __init__(self, width: int, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.linears = nn.ModuleList(
            nn.Linear(width, len(task.classes)) if task.classes else nn.Identity() for task in tasks
        )

    def forward(
        self, features: Float[Tensor, "batch width"], batch: Batch, temperature: float = 1.0
    ) -> Float[Tensor, " batch"]:
        """Cross-entropy of each sample; 0 where it has no label.

        Args:
            features: Of the samples of the batch.
            batch: Says whose head judges which sample, and what is right.
            temperature: Divides the logits.
        """
        # Zeros that come from the features: a process without any labelled sample must go backward
        # through the encoder as the others do, whose batch norms wait for it.
        each = 0 * at_least_float32(features).sum(1)
        for place, linear in enumerate(self.linears):
            rows = rows_of(batch, place)
            # A head that nothing asked has no gradient, so that momentum leaves it alone.
            if len(rows) and self.tasks[place].classes:
                logits = linear(features[rows]) / temperature
                found = each_cross_entropy(logits, batch.targets[rows])
                each = each.index_add(0, rows, found)
        return each

    def on(self, encoders: Sequence[Encoder]) -> dict[str, nn.Module]:
        """Plain networks by task: the head of each on the encoder of its place."""
        networks: dict[str, nn.Module] = {}
        for task, linear, encoder in zip(self.tasks, self.linears, encoders, strict=True):
            if task.classes:
                network = Student(encoder, len(task.classes))
                assert isinstance(linear, nn.Linear)
                network.head = linear
                networks[task.name] = network
        return networks


def batch_mean(each: Float[Tensor, " batch"], batch: Batch) -> Float[Tensor, ""]:
    """Mean over the labelled samples of the batch, whatever their task: large tasks dominate."""
    return whole_batch_mean(each, batch.weights * (batch.targets != UNLABELLED))


def means_by_task(
    each: Float[Tensor, " batch"], batch: Batch, tasks: Sequence[Task]
) -> dict[str, Tensor]:
    """Mean over the labelled samples of each task; 0 for one that is absent from the batch."""
    weights = batch.weights * (batch.targets != UNLABELLED)
    return {
        task.name: whole_batch_mean(each, weights * (batch.tasks == place))
        for place, task in enumerate(tasks)
    }


def present(batch: Batch, count: int) -> list[bool]:
    """Which tasks have a sample in the batch of all processes."""
    return anywhere(_members(batch, count).any(1))


def counts_of(batch: Batch, count: int) -> list[int]:
    """How many samples of each task the batch of all processes has."""
    members = _members(batch, count).sum(1)
    if processes() > 1:
        dist.all_reduce(members)
    found: list[int] = members.tolist()
    return found


def several(batch: Batch, count: int) -> list[bool]:
    """Which tasks have two samples or more in the batch of all processes.

    One alone has no statistics: a batch norm over a map of one pixel refuses it.
    """
    return [samples > 1 for samples in counts_of(batch, count)]


def labelled(batch: Batch, count: int) -> list[bool]:
    """Which tasks have a labelled sample in the batch of all processes."""
    return anywhere((_members(batch, count) & (batch.targets != UNLABELLED)).any(1))


def share_of(batch: Batch, place: int) -> Batch:
    """The samples of a task as a batch of one task."""
    own = batch.at(rows_of(batch, place))
    return replace(own, tasks=torch.zeros_like(own.tasks))


def rows_of(batch: Batch, place: int) -> Tensor:
    """Rows of the samples of a task."""
    return (batch.tasks == place).nonzero().flatten()


def refuse_unlabelled(method: Method, tasks: Sequence[Task]) -> None:
    """Refuse a task that a method could learn nothing from.

    Raises:
        UserError: A task has no labels.
    """
    for task in tasks:
        if not task.classes:
            raise UserError(
                f"{name_of(method)} learns from labels alone, but {task.name} has none. Leave "
                f"data.roots.{task.name} out."
            )


def _members(batch: Batch, count: int) -> Bool[Tensor, "tasks batch"]:
    places = torch.arange(count, device=batch.tasks.device)
    return batch.tasks == places[:, None]
