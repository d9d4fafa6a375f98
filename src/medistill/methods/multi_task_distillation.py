"""Multi-task learning beside a foundation model (MTL-KD)."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.errors import UserError
from medistill.losses.divergence import feature_kl
from medistill.methods._settings import Temperature, Weight
from medistill.methods._tasks import Heads, batch_mean
from medistill.methods._words import name_of
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Batch, Task


class MultiTaskDistillation(Method):
    """Encoder that learns all tasks, and whose projected features imitate the teacher's.

    Images of a task without labels are imitated all the same.

    Args:
        student: Network whose encoder is shared; its own head is left aside.
        teacher: Frozen; its pooled features are imitated.
        tasks: In the order of `Batch.tasks`; at least one with labels.
        temperature: Softens both features, whose dimensions are read as classes.
        imitation: Weight of the divergence from the teacher's features: the paper's β.
    """

    aliases: ClassVar[tuple[str, ...]] = ("mtl_kd",)
    paper: ClassVar[str] = (
        "The baseline MTL-KD of Zhou et al., "
        "Low-Rank Knowledge Decomposition for Medical Foundation Models, CVPR 2024"
    )

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        tasks: tuple[Task, ...],
        *,
        temperature: Temperature = 10.0,
        imitation: Weight = 1.0,
    ) -> None:
        super().__init__()
        if not any(task.classes for task in tasks):
            names = ", ".join(task.name for task in tasks)
            raise UserError(
                f"{name_of(self)} needs labels, but no task has any ({names}). Add a root with "
                "classes."
            )
        self.encoder = student.encoder
        self.teacher = teacher
        self.temperature = temperature
        self.imitation = imitation
        self.heads = Heads(student.width, tasks)
        # On the student's side: one that the teacher's features passed could make them constant.
        self.project = nn.Linear(student.width, teacher.width)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Equation 9 of the paper."""
        features = self.encoder(batch.images).features
        wanted = self.teacher(batch).features
        divergence = feature_kl(self.project(features), wanted, self.temperature)
        return {
            "labels": batch_mean(self.heads(features, batch), batch),
            "features": self.imitation * divergence,
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The shared encoder with each task's head."""
        return self.heads.on([self.encoder] * len(self.heads.tasks))
