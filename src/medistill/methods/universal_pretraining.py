"""One network trained on the classes of many sets at once: a foundation model for experiments."""

from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.losses.supervised import cross_entropy
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.types import Batch, Task


class UniversalPretraining(Method):
    """Network with one head over the classes of all tasks together, which compete.

    Args:
        student: Network to train; its own head is left aside.
        tasks: In the order of `Batch.tasks`; one without labels adds no class.
    """

    aliases: ClassVar[tuple[str, ...]] = ("foundation",)
    paper: ClassVar[str] = (
        "The foundation model of Zhou et al., "
        "Low-Rank Knowledge Decomposition for Medical Foundation Models, CVPR 2024"
    )

    one_head = True

    offsets: Tensor

    def __init__(self, student: Student, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        counts = [len(task.classes) for task in tasks]
        if not any(counts):
            raise UserError(
                f"universal_pretraining needs labels, but no task has any "
                f"({', '.join(task.name for task in tasks)}). Add a root with classes."
            )
        self.tasks = tasks
        self.student = student.with_classes(sum(counts))
        offsets = torch.tensor([0, *accumulate(counts)])
        self.register_buffer("offsets", offsets, persistent=False)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy over the classes of all tasks."""
        logits = self.student(batch.images).logits
        shifted = batch.targets + self.offsets[batch.tasks]
        # -1, no label, stays -1 in every task.
        targets = torch.where(batch.targets < 0, batch.targets, shifted)
        return {"labels": cross_entropy(logits, targets, batch.weights)}

    def deploy(self) -> dict[str, nn.Module]:
        """For each task the shared encoder with the rows of the head that judge its classes."""
        bounds = self.offsets.tolist()
        return {
            task.name: self._part(first, last)
            for task, first, last in zip(self.tasks, bounds, bounds[1:], strict=False)
            if last > first
        }

    @torch.no_grad()
    def _part(self, first: int, last: int) -> Student:
        part = self.student.with_classes(last - first)
        part.head.weight.copy_(self.student.head.weight[first:last])
        part.head.bias.copy_(self.student.head.bias[first:last])
        return part
