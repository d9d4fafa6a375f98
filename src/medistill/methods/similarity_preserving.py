"""Similarity-preserving distillation (SP)."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.losses.collective import whole_batch
from medistill.losses.relation import similarity_distance
from medistill.losses.supervised import cross_entropy
from medistill.methods._maps import required_maps
from medistill.methods._settings import Weight
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Batch


class SimilarityPreserving(Method):
    """Student that finds those samples of a batch alike which its teacher finds alike.

    Args:
        student: Network to train and deploy.
        teacher: Frozen; its last map is compared, of whatever size and width.
        labels: Weight of the loss against the labels.
        imitation: Weight of the difference of the similarities; large, as it is a mean over all
            pairs of samples.
    """

    aliases: ClassVar[tuple[str, ...]] = ("sp",)
    paper: ClassVar[str] = "Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019"
    scales = "last"

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        labels: Weight = 1.0,
        imitation: Weight = 3000.0,
    ) -> None:
        super().__init__()
        required_maps(self, teacher)
        self.student = student
        self.teacher = teacher
        self.labels = labels
        self.imitation = imitation

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and the distance of the batch's similarities."""
        student = self.student(batch.images)
        pair = student.maps[-1], self.teacher(batch).maps[-1]
        ours, theirs = (whole_batch(each.flatten(1)) for each in pair)
        return {
            "labels": self.labels * cross_entropy(student.logits, batch.targets, batch.weights),
            "imitation": self.imitation * similarity_distance(ours, theirs),
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}
