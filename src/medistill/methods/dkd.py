"""Decoupled Knowledge Distillation (DKD)."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.losses.divergence import decoupled_kl
from medistill.losses.supervised import cross_entropy
from medistill.methods._judges import judged_classes, judgement
from medistill.methods._settings import Share, Temperature, Weight
from medistill.methods._words import advise
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Batch

WARM_UP = 20 / 240  # the first 20 of the 240 epochs of mdistiller's recipe


class Dkd(Method):
    """Student that imitates a teacher's certainty, and apart from it what it holds for similar.

    Softened logits split into the probability of the labelled class and the distribution over the
    others; in KD the second fades where the teacher is sure, here it has a weight of its own.
    A sample without a label has no such split, and is not imitated.

    Args:
        student: Network to train and deploy.
        teacher: Judges the student's classes, by a probe for instance.
        temperature: Softens both distributions; 1 leaves them as they are.
        labels: Weight of the loss against the labels.
        target: Weight of the imitation of the labelled class's probability (α).
        others: Weight of the imitation of the other classes (β); the paper tunes it from 1 to 8.
        warm_up: Share of the training in which both imitations rise from 0.
    """

    aliases: ClassVar[tuple[str, ...]] = ("decoupled_distillation",)
    paper: ClassVar[str] = "Zhao et al., Decoupled Knowledge Distillation, CVPR 2022"
    tunable = ("others",)

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        temperature: Temperature = 4.0,
        labels: Weight = 1.0,
        target: Weight = 1.0,
        others: Weight = 8.0,
        warm_up: Share = WARM_UP,
    ) -> None:
        super().__init__()
        if judged_classes(self, student, teacher) == 2:
            advise(self, "with two classes its term `others` is 0: what is left is KD.")
        self.student = student
        self.teacher = teacher
        self.temperature = temperature
        self.labels = labels
        self.target = target
        self.others = others
        self.warm_up = warm_up

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and the two halves of KD, each with its weight."""
        logits = self.student(batch.images).logits
        wanted = judgement(self.teacher, batch)
        target, others = decoupled_kl(logits, wanted, batch.targets, self.temperature)
        rising = min(1.0, progress / self.warm_up) if self.warm_up else 1.0
        return {
            "labels": self.labels * cross_entropy(logits, batch.targets, batch.weights),
            "target": rising * self.target * target,
            "others": rising * self.others * others,
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}
