"""Relational Knowledge Distillation (RKD)."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.losses.collective import whole_batch
from medistill.losses.relational_distances import angle_discrepancy, distance_discrepancy
from medistill.losses.supervised import cross_entropy
from medistill.methods._settings import Weight
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Batch


class Rkd(Method):
    """Student whose samples lie to each other as the teacher's do, in distances and angles.

    It holds the n^3 angles of a batch of n a few times over: 0.3 MB each at 32, 8.6 GB at 1024.

    Args:
        student: Network to train and deploy.
        teacher: Frozen; its pooled features may have any width.
        labels: Weight of the loss against the labels.
        distances: Weight of the distances between two samples.
        angles: Weight of the angles between three samples.
    """

    aliases: ClassVar[tuple[str, ...]] = ("relational_distillation",)
    paper: ClassVar[str] = "Park et al., Relational Knowledge Distillation, CVPR 2019"
    tunable = ("angles",)

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        labels: Weight = 1.0,
        distances: Weight = 25.0,
        angles: Weight = 50.0,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher
        self.labels = labels
        self.distances = distances
        self.angles = angles

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and both relations over the whole batch."""
        student = self.student(batch.images)
        own, wanted = whole_batch(student.features), whole_batch(self.teacher(batch).features)
        return {
            "labels": self.labels * cross_entropy(student.logits, batch.targets, batch.weights),
            "distances": self.distances * distance_discrepancy(own, wanted),
            "angles": self.angles * angle_discrepancy(own, wanted),
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}
