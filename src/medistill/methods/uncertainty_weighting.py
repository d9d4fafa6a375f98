"""Uncertainty weighting (UW): each task's loss over a variance that is learnt."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from medistill.methods._tasks import Heads, labelled, means_by_task, refuse_unlabelled
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.types import Batch, Task


class UncertaintyWeighting(Method):
    """Multi-task learning that trusts a task the less, the more uncertain it stays.

    Args:
        student: Network whose encoder is shared; its own head is left aside.
        tasks: In the order of `Batch.tasks`.
    """

    aliases: ClassVar[tuple[str, ...]] = ("uw",)
    paper: ClassVar[str] = (
        "Kendall et al., Multi-Task Learning Using Uncertainty to Weigh Losses, CVPR 2018"
    )

    def __init__(self, student: Student, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        refuse_unlabelled(self, tasks)
        self.tasks = tasks
        self.encoder = student.encoder
        self.heads = Heads(student.width, tasks)
        # One tensor each, so that a task that is absent from a batch keeps its own.
        self.log_variances = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in tasks)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """½ exp(-s_t) L_t + ½ s_t for each task; 0 for one that is absent."""
        each = self.heads(self.encoder(batch.images).features, batch)
        means = means_by_task(each, batch, self.tasks).items()
        there = labelled(batch, len(self.tasks))
        return {
            name: (torch.exp(-s) * loss + s) / 2 if asked else loss
            for (name, loss), s, asked in zip(means, self.log_variances, there, strict=True)
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The shared encoder with each task's head."""
        return self.heads.on([self.encoder] * len(self.tasks))
