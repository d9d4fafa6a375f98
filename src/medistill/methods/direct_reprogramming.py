"""Direct reprogramming: RD's ablation in two stages, without a shared classifier."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from medistill.losses.divergence import softened_kl
from medistill.losses.supervised import cross_entropy
from medistill.methods._settings import TWO_BLOCKS, Reprogramming, Share, Temperature, Weight
from medistill.methods.base import Method, faded
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Batch

SECOND_STAGE = 0.5  # progress at which the student starts: the stages are equally long


class DirectReprogramming(Method):
    """Student that imitates a teacher which was reprogrammed before, in a training of its own.

    First φ and a classifier of its own learn the task on the frozen features; then both stand
    still, batch-norm statistics included, while the student and its classifier learn. Each stage
    has all epochs of the recipe, so that the student learns as long as any other.

    Args:
        student: Network to train, in the second stage, and to deploy.
        teacher: Frozen; gives feature maps or pooled vectors.
        temperature: Softens the predictions that the student imitates.
        logits: Weight of the imitation when the second stage begins; the labels have 1.
        faded_to: Share of that weight which is left at the end, as in RD.
        reprogramming: The network φ between the teacher and its classifier.
    """

    aliases: ClassVar[tuple[str, ...]] = ("direct",)
    paper: ClassVar[str] = (
        "Zhou et al., Reprogramming Distillation for Medical Foundation Models, MICCAI 2024 (Di.)"
    )
    tunable = ("logits",)
    stages = 2

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        temperature: Temperature = 4.0,
        logits: Weight = 1.0,
        faded_to: Share = 0.0,
        reprogramming: Reprogramming = TWO_BLOCKS,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher
        self.temperature = temperature
        self.logits = logits
        self.faded_to = faded_to
        self.reprogram = reprogramming.build(teacher, student.width)
        self.classifier = nn.Linear(student.width, student.head.out_features)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The reprogrammed teacher's loss in the first stage, the student's in the second."""
        if progress < SECOND_STAGE:
            taught = self.classifier(self.reprogram(self.teacher(batch)))
            return {"reprogrammed": cross_entropy(taught, batch.targets, batch.weights)}
        wanted = self._settled(batch)
        student = self.student(batch.images).logits
        fading = faded((progress - SECOND_STAGE) / (1 - SECOND_STAGE), self.faded_to)
        return {
            "student": cross_entropy(student, batch.targets, batch.weights),
            "logits": fading * self.logits * softened_kl(student, wanted, self.temperature),
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student alone: nothing of the teacher or of φ."""
        return {"all": self.student}

    @torch.no_grad()
    def _settled(self, batch: Batch) -> Tensor:
        # `fit` puts the whole method into training mode at each step; statistics and dropout of φ
        # must stand still nevertheless.
        self.reprogram.eval()
        logits: Tensor = self.classifier(self.reprogram(self.teacher(batch)))
        return logits
