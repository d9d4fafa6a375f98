"""Variational information distillation (VID)."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.losses.collective import whole_batch_mean
from medistill.losses.supervised import cross_entropy
from medistill.losses.variational import gaussian_surprise
from medistill.methods._maps import required_maps
from medistill.methods._settings import Weight
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.scales import at_one_size, paired
from medistill.models.teachers import Teacher
from medistill.types import Batch

FIRST_VARIANCE = 5.0
LEAST_VARIANCE = 1e-5


class Vid(Method):
    """Student from whose maps its teacher's can be predicted, with errors as small as they get.

    Args:
        student: Network to train and deploy.
        teacher: Frozen; its stages are paired with the student's from the coarsest.
        labels: Weight of the loss against the labels.
        imitation: Weight of the surprise at the teacher's maps, summed over the stages; it becomes
            negative when they are predicted well.
    """

    aliases: ClassVar[tuple[str, ...]] = ("variational_information_distillation",)
    paper: ClassVar[str] = (
        "Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019"
    )
    scales = "all"

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        labels: Weight = 1.0,
        imitation: Weight = 1.0,
    ) -> None:
        super().__init__()
        widths = [shape[0] for shape in required_maps(self, teacher)]
        self.student = student
        self.teacher = teacher
        self.labels = labels
        self.imitation = imitation
        pairs = paired(student.encoder.widths, widths)
        self.predictions = nn.ModuleList(_Prediction(*pair) for pair in pairs)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and the surprise at the teacher's maps."""
        student = self.student(batch.images)
        pairs = paired(student.maps, self.teacher(batch).maps)
        surprises = [
            predict(*at_one_size(*pair))
            for predict, pair in zip(self.predictions, pairs, strict=True)
        ]
        imitation = whole_batch_mean(torch.stack(surprises).sum(0))
        return {
            "labels": self.labels * cross_entropy(student.logits, batch.targets, batch.weights),
            "imitation": self.imitation * imitation,
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}


class _Prediction(nn.Module):
    """What one stage's maps say of the teacher's, and how far off each channel may be."""

    def __init__(self, width: int, wanted: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(width, wanted, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(wanted, wanted, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(wanted, wanted, 1, bias=False),
        )
        start = math.log(math.expm1(FIRST_VARIANCE - LEAST_VARIANCE))
        # A parameter, which the optimiser sees: in a list it would stay where it began.
        self.spread = nn.Parameter(torch.full((wanted,), start))

    @property
    def variance(self) -> Tensor:
        """Of each channel: positive whatever the parameter."""
        return F.softplus(self.spread) + LEAST_VARIANCE

    def forward(self, features: Tensor, wanted: Tensor) -> Tensor:
        return gaussian_surprise(self.mean(features), wanted, self.variance)
