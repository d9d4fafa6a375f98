"""Distillation of a teacher's features, without labels: a start for students of any task."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from medistill.losses.collective import whole_batch, whole_batch_mean
from medistill.losses.precision import at_least_float32
from medistill.losses.similarity import linear_cka
from medistill.methods._settings import Weight
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Batch, Task


class FeatureDistillation(Method):
    """Student whose linear regression predicts the teacher's raw pooled features.

    Each dimension counts alike: it is standardised by its statistics over all samples seen so far.

    Args:
        student: Network to train; its head is replaced by the regression.
        teacher: Frozen; its pooled features are imitated.
        tasks: The sets of images, of whatever kind: their labels are not read.
        geometry: Weight of the alignment (CKA) of the student's own features with the teacher's,
            beside the regression.
    """

    aliases: ClassVar[tuple[str, ...]] = ("features",)
    paper: ClassVar[str] = (
        "After Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, on pooled features"
    )

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        tasks: tuple[Task, ...],
        *,
        geometry: Weight = 0.0,
    ) -> None:
        super().__init__()
        self.student = student.with_classes(teacher.width)
        self.teacher = teacher
        self.tasks = tasks
        self.geometry = geometry
        self.standardise = _Standardisation(teacher.width)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Mean squared error of the standardised features, and their geometry."""
        student = self.student(batch.images)
        teacher = self.teacher(batch).features
        predicted = at_least_float32(student.logits)
        errors = (predicted - self.standardise(teacher)).square().mean(1)
        # The encoder's own features: the head could turn any into the teacher's geometry.
        similarity = linear_cka(whole_batch(student.features), whole_batch(teacher))
        return {
            "features": whole_batch_mean(errors),
            "geometry": self.geometry * (1 - similarity),
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student with the regression as its head; only its encoder is a start."""
        return {"features": self.student}


class _Standardisation(nn.Module):
    """Standardises rows by the mean and variance of all rows it was trained on so far.

    Batch normalisation's running statistics forget; these settle, and do not depend on how the
    samples were dealt into batches or processes.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("squares", torch.zeros(width))

    @torch.no_grad()
    def forward(self, rows: Tensor) -> Tensor:
        rows = at_least_float32(rows)
        if self.training:
            self._add(whole_batch(rows))
        variance = self.squares / self.count.clamp_min(1)
        # A dimension that hardly varies would otherwise be all noise at full weight.
        floor = 1e-3 * variance.mean()
        return (rows - self.mean) / (variance + floor).sqrt().clamp_min(1e-12)

    def _add(self, rows: Tensor) -> None:
        """Merges two sets of moments: Chan et al., 1979."""
        count = self.count + len(rows)
        shift = rows.mean(0) - self.mean
        self.squares += (rows - rows.mean(0)).square().sum(0)
        self.squares += shift.square() * self.count * len(rows) / count
        self.mean += shift * len(rows) / count
        self.count.copy_(count)
