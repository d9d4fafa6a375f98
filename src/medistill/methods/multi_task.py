"""Plain multi-task learning (MTL): one encoder for all tasks, and a head for each."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.methods._tasks import Heads, batch_mean, refuse_unlabelled
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.types import Batch, Task


class MultiTask(Method):
    """Encoder that learns all tasks together from mixed batches, with one head per task.

    Args:
        student: Network whose encoder is shared; its own head is left aside.
        tasks: In the order of `Batch.tasks`.
    """

    aliases: ClassVar[tuple[str, ...]] = ("mtl",)
    paper: ClassVar[str] = "Caruana, Multitask Learning, Machine Learning 1997"

    def __init__(self, student: Student, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        refuse_unlabelled(self, tasks)
        self.encoder = student.encoder
        self.heads = Heads(student.width, tasks)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy of each sample by its task's head: Σ (n_t / B) L_t over the tasks."""
        each = self.heads(self.encoder(batch.images).features, batch)
        return {"labels": batch_mean(each, batch)}

    def deploy(self) -> dict[str, nn.Module]:
        """The shared encoder with each task's head."""
        return self.heads.on([self.encoder] * len(self.heads.tasks))
