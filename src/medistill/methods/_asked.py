"""What RD asks of pooled features, in one form for images and for volumes."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from medistill.losses.divergence import softened_kl
from medistill.losses.supervised import cross_entropy
from medistill.models.networks import Student
from medistill.types import Batch, Output

Pair = tuple[Float[Tensor, "rows width_a"], Float[Tensor, "rows width_b"]]
"""Features of two networks, row by row of the same."""


@runtime_checkable
class Question(Protocol):
    """Answered by one classifier, from the student's features and from the reprogrammed ones."""

    def answer(self, features: Float[Tensor, "batch width"], batch: Batch) -> Tensor:
        """What the shared classifier says of pooled features."""

    def of_student(self, output: Output, batch: Batch) -> Tensor:
        """What it says of the student's own."""

    def loss(self, answer: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Of an answer, on the labels."""

    def supervised(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """The student's own losses."""

    def imitation(
        self, answer: Tensor, wanted: Tensor, temperature: float, batch: Batch
    ) -> Float[Tensor, ""]:
        """How far an answer is from the one to imitate."""

    def pairs(self, output: Output, taught: Output) -> Sequence[Pair]:
        """What else of student and teacher is aligned, beside the pooled features."""


class ClassOf:
    """The class of an image: the student's head is the classifier.

    Args:
        student: A classifier.
    """

    def __init__(self, student: Student) -> None:
        self.student = student

    def answer(self, features: Tensor, batch: Batch) -> Tensor:
        """Logits of the classes."""
        logits: Tensor = self.student.head(features)
        return logits

    def of_student(self, output: Output, batch: Batch) -> Tensor:
        """Its logits are there already."""
        assert output.logits is not None, "a student has a head"
        return output.logits

    def loss(self, answer: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(answer, batch.targets, batch.weights)

    def supervised(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy."""
        return {"student": self.loss(self.of_student(output, batch), batch)}

    def imitation(self, answer: Tensor, wanted: Tensor, temperature: float, batch: Batch) -> Tensor:
        """KL divergence of softened classes."""
        return softened_kl(answer, wanted, temperature)

    def pairs(self, output: Output, taught: Output) -> Sequence[Pair]:
        """Nothing: the paper aligns pooled features alone."""
        return ()


def question_of(student: nn.Module) -> Question:
    """What is asked of this student's features."""
    if isinstance(student, Student):
        return ClassOf(student)
    from medistill.methods._shown import Shown
    from medistill.models.segmenters.base import Segmenter

    assert isinstance(student, Segmenter), "a student classifies, or outlines"
    return Shown(student)
