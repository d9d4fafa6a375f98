"""The student trained on the labels alone: what any distillation has to beat."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.losses.supervised import cross_entropy
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.types import Batch


class StudentAlone(Method):
    """Student that learns from the labels, without a teacher.

    Args:
        student: Network to train and deploy.
    """

    aliases: ClassVar[tuple[str, ...]] = ("supervised",)
    paper: ClassVar[str] = "None: the baseline of every paper on distillation"

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels."""
        logits = self.student(batch.images).logits
        return {"labels": cross_entropy(logits, batch.targets, batch.weights)}

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}
