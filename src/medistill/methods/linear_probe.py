"""A linear classifier on the frozen foundation model: how much its features know of a task."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.losses.supervised import UNLABELLED, cross_entropy
from medistill.methods.base import Method
from medistill.models.networks import Encoder, Student
from medistill.models.teachers import Teacher
from medistill.types import Batch, Task


class LinearProbe(Method):
    """The foundation model itself, with one trained Linear per task on its frozen features.

    Args:
        teacher: Frozen, or cached from a frozen one: what is deployed is its encoder.
        tasks: In the order of `Batch.tasks`.
    """

    aliases: ClassVar[tuple[str, ...]] = ("probe",)
    paper: ClassVar[str] = (
        "Alain and Bengio, Understanding Intermediate Layers Using Linear Classifier Probes, "
        "ICLR workshop 2017"
    )

    def __init__(self, teacher: Teacher, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        _encoder(teacher)  # a teacher that cannot be deployed is refused before the training
        self.teacher = teacher
        self.tasks = tasks
        self.heads = nn.ModuleList(nn.Linear(teacher.width, len(task.classes)) for task in tasks)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy of each task's head on the samples of its task, summed."""
        features = self.teacher(batch).features
        # Every head sees every row, so that each has a gradient in every process.
        terms = [
            cross_entropy(head(features), self._targets(batch, task), batch.weights)
            for task, head in enumerate(self.heads)
        ]
        return {"labels": torch.stack(terms).sum()}

    @torch.no_grad()
    def deploy(self) -> dict[str, nn.Module]:
        """The frozen encoder with each task's head: as large as the foundation model."""
        networks: dict[str, nn.Module] = {}
        for task, head in zip(self.tasks, self.heads, strict=True):
            network = Student(_encoder(self.teacher), len(task.classes))
            network.head.load_state_dict(head.state_dict())
            networks[task.name] = network
        return networks

    def _targets(self, batch: Batch, task: int) -> Tensor:
        return batch.targets.where(batch.tasks == task, UNLABELLED)


def _encoder(teacher: Teacher) -> Encoder:
    """What computes a teacher's features, found below caches and probes."""
    holder: object = teacher
    for role in ("teacher", "source"):  # of Probed, of Cached
        holder = getattr(holder, role, holder)
    found = getattr(holder, "encoder", None)
    found = found.encoder if isinstance(found, Student) else found
    if not isinstance(found, Encoder):
        raise UserError(
            "linear_probe deploys the foundation model, but this teacher is features alone. "
            "Name a teacher with weights."
        )
    return found
