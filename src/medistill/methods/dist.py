"""Distillation from a Stronger Teacher (DIST)."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.losses.collective import whole_batch
from medistill.losses.divergence import decorrelation
from medistill.losses.supervised import cross_entropy
from medistill.methods._judges import judged_classes, judgement
from medistill.methods._settings import Temperature, Weight
from medistill.methods._words import advise
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Batch


class Dist(Method):
    """Student that ranks classes and samples as the teacher does, without matching its certainty.

    Args:
        student: Network to train and deploy.
        teacher: Judges the student's classes, by a probe for instance.
        temperature: Softens both distributions; 1 leaves them as they are.
        labels: Weight of the loss against the labels.
        classes: Weight of the correlation over the classes of each sample (β).
        samples: Weight of the correlation over the samples of each class (γ); 2 is common.
    """

    aliases: ClassVar[tuple[str, ...]] = ("stronger_teacher",)
    called: ClassVar[str] = "DIST"
    paper: ClassVar[str] = (
        "Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022"
    )
    tunable = ("samples",)

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        temperature: Temperature = 1.0,
        labels: Weight = 1.0,
        classes: Weight = 1.0,
        samples: Weight = 1.0,
    ) -> None:
        super().__init__()
        if judged_classes(self, student, teacher) == 2:
            advise(
                self,
                "with two classes its term `classes` only knows whether student and teacher agree, "
                "and teaches nothing: what is left is `samples`.",
            )
        self.student = student
        self.teacher = teacher
        self.temperature = temperature
        self.labels = labels
        self.classes = classes
        self.samples = samples

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and both correlations over the whole batch."""
        logits = self.student(batch.images).logits
        own = self._softened(logits)
        wanted = self._softened(judgement(self.teacher, batch))
        scale = self.temperature**2
        return {
            "labels": self.labels * cross_entropy(logits, batch.targets, batch.weights),
            "classes": self.classes * scale * decorrelation(own, wanted),
            "samples": self.samples * scale * decorrelation(own.T, wanted.T),
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}

    def _softened(self, logits: Tensor) -> Tensor:
        return (whole_batch(logits) / self.temperature).softmax(1)
