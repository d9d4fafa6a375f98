"""Distillation of softened logits (KD)."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.losses.divergence import softened_kl
from medistill.losses.supervised import cross_entropy
from medistill.methods._judges import judged_classes, judgement
from medistill.methods._settings import Share, Temperature, Weight
from medistill.methods.base import Method, faded
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Batch


class LogitDistillation(Method):
    """Student that imitates the softened predictions of a teacher.

    Both weights are 1, as in RD; mdistiller has 0.1 and 0.9.

    Args:
        student: Network to train and deploy.
        teacher: Judges the student's classes, by a probe for instance.
        temperature: Softens both distributions; 1 leaves them as they are.
        labels: Weight of the loss against the labels.
        imitation: Weight of the imitation, at the beginning.
        faded_to: Share of `imitation` that is left at the end; 0 fades it as RD does.
    """

    aliases: ClassVar[tuple[str, ...]] = ("kd",)
    paper: ClassVar[str] = (
        "Hinton et al., Distilling the Knowledge in a Neural Network, NIPS workshop 2014"
    )

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        temperature: Temperature = 4.0,
        labels: Weight = 1.0,
        imitation: Weight = 1.0,
        faded_to: Share = 1.0,
    ) -> None:
        super().__init__()
        judged_classes(self, student, teacher)
        self.student = student
        self.teacher = teacher
        self.temperature = temperature
        self.labels = labels
        self.imitation = imitation
        self.faded_to = faded_to

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and the divergence from the teacher's predictions."""
        logits = self.student(batch.images).logits
        wanted = judgement(self.teacher, batch)
        weight = self.imitation * faded(progress, self.faded_to)
        return {
            "labels": self.labels * cross_entropy(logits, batch.targets, batch.weights),
            "imitation": weight * softened_kl(logits, wanted, self.temperature),
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}
