"""Attention transfer (AT)."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from medistill.losses.attention import attention_distance
from medistill.losses.collective import whole_batch_mean
from medistill.losses.supervised import cross_entropy
from medistill.methods._maps import required_maps
from medistill.methods._settings import Weight
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.scales import at_one_size, paired
from medistill.models.teachers import Teacher
from medistill.types import Batch


class AttentionTransfer(Method):
    """Student that looks where its teacher looks, at every stage.

    Args:
        student: Network to train and deploy.
        teacher: Frozen; its stages are paired with the student's from the coarsest.
        power: Of the activations that make an attention.
        labels: Weight of the loss against the labels.
        imitation: Weight of the differences of attention, summed over the stages; large, as they
            are means over all places.
    """

    aliases: ClassVar[tuple[str, ...]] = ("at",)
    paper: ClassVar[str] = "Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017"
    scales = "all"

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        power: Annotated[float, Field(ge=1)] = 2.0,
        labels: Weight = 1.0,
        imitation: Weight = 1000.0,
    ) -> None:
        super().__init__()
        required_maps(self, teacher)
        self.student = student
        self.teacher = teacher
        self.power = power
        self.labels = labels
        self.imitation = imitation

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and the distance of the attentions."""
        student = self.student(batch.images)
        pairs = paired(student.maps, self.teacher(batch).maps)
        distances = [attention_distance(*at_one_size(*pair), power=self.power) for pair in pairs]
        imitation = whole_batch_mean(torch.stack(distances).sum(0))
        return {
            "labels": self.labels * cross_entropy(student.logits, batch.targets, batch.weights),
            "imitation": self.imitation * imitation,
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}
