"""Reprogramming Distillation (RD)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from medistill.losses.collective import whole_batch
from medistill.losses.similarity import linear_cka, unbiased_linear_cka
from medistill.methods._alone import shipped, shown
from medistill.methods._asked import question_of
from medistill.methods._settings import (
    PAPER_WEIGHTS,
    TWO_BLOCKS,
    Reprogramming,
    Temperature,
    Weights,
)
from medistill.methods.base import Method, faded
from medistill.models.teachers import Teacher
from medistill.types import Batch

SIMILARITIES = {"biased": linear_cka, "unbiased": unbiased_linear_cka}


class ReprogrammingDistillation(Method):
    """Student trained beside a reprogrammed teacher, both judged by one shared classifier.

    The paper's formulas are lost in its public text; this is the reading of
    `docs/explanation/reprogramming-distillation.md`.

    On volumes the shared classifier tells which structures a patch shows, beside the masks, and
    the alignment is the mean over the pooled features and the maps of all scales; of a teacher
    whose answers are kept (`data.patches`), over the pooled features alone.

    Args:
        student: Network to train and deploy; its head judges the reprogrammed teacher as well.
        teacher: Frozen; gives feature maps or pooled vectors.
        temperature: Softens the predictions that the student imitates.
        weights: Weights of the terms; the two alignments fade along the training.
        detached: Terms that teach the student alone; the others also draw the reprogrammed
            features towards what the student can follow.
        estimator: Of CKA. The paper's is biased: above 0.9 for unrelated features, see `losses`.
        reprogramming: The network φ between the teacher and the shared classifier.
    """

    aliases: ClassVar[tuple[str, ...]] = ("rd",)
    paper: ClassVar[str] = (
        "Zhou et al., Reprogramming Distillation for Medical Foundation Models, MICCAI 2024"
    )
    tunable = ("weights.geometry", "weights.logits")
    volumes: ClassVar[bool] = True

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        *,
        temperature: Temperature = 4.0,
        weights: Weights = PAPER_WEIGHTS,
        detached: tuple[Literal["logits", "geometry"], ...] = ("logits",),
        estimator: Literal["biased", "unbiased"] = "biased",
        reprogramming: Reprogramming = TWO_BLOCKS,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher
        self.temperature = temperature
        self.weights = weights
        self.detached = detached
        self.similarity = SIMILARITIES[estimator]
        width = int(student.width)  # type: ignore[arg-type]
        self.reprogram = reprogramming.build(teacher, width)
        self.question = question_of(student)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Equations 1 to 3 of `docs/explanation/reprogramming-distillation.md`."""
        student, taught = self.student(*shown(batch)), self.teacher(batch)
        reprogrammed = self.reprogram(taught)
        # One classifier for both: what it can read of the student is what the student can imitate.
        answer = self.question.answer(reprogrammed, batch)
        weights = self.weights
        fading = faded(progress, weights.faded_to, weights.rising)
        own, wanted = self.question.of_student(student, batch), self._routed("logits", answer)
        imitation = self.question.imitation(own, wanted, self.temperature, batch)
        pairs = [
            (student.features, self._routed("geometry", reprogrammed)),
            *self.question.pairs(student, taught),
        ]
        alignment = torch.stack([self._alignment(*pair) for pair in pairs]).mean()
        return {
            **self.question.supervised(student, batch),
            # λ_T does not fade, else φ would stop learning.
            "reprogrammed": weights.reprogrammed * self.question.loss(answer, batch),
            "logits": fading * weights.logits * imitation,  # α
            "geometry": fading * weights.geometry * (1 - alignment),  # β
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student alone: nothing of the teacher or of φ."""
        return {"all": shipped(self.student)}

    def _routed(self, term: str, tensor: Tensor) -> Tensor:
        return tensor.detach() if term in self.detached else tensor

    def _alignment(self, student: Tensor, reprogrammed: Tensor) -> Tensor:
        return self.similarity(whole_batch(student), whole_batch(reprogrammed))
