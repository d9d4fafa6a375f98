"""The student trained on the labels alone: what any distillation has to beat."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.methods._alone import label_loss, shipped, shown
from medistill.methods.base import Method
from medistill.types import Batch


class StudentAlone(Method):
    """Student that learns from the labels, without a teacher.

    Args:
        student: Network to train and deploy: a classifier, or a segmenter.
    """

    aliases: ClassVar[tuple[str, ...]] = ("supervised",)
    paper: ClassVar[str] = "None: the baseline of every paper on distillation"
    volumes: ClassVar[bool] = True

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, or BCE + Dice against the masks."""
        output = self.student(*shown(batch))
        return {"labels": label_loss(self.student, output, batch)}

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is; a segmenter answers all classes."""
        return {"all": shipped(self.student)}
