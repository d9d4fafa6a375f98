"""What RD asks of pooled features: the class of an image, or which classes a patch shows."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.losses.collective import whole_batch_mean
from medistill.losses.divergence import softened_kl
from medistill.losses.overlap import bernoulli_kl
from medistill.losses.precision import at_least_float32
from medistill.losses.supervised import cross_entropy
from medistill.methods._alone import label_loss
from medistill.models.networks import Student
from medistill.models.scales import averaged, paired, smaller
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


class Shown(nn.Module):
    """Which of the classes asked for a patch shows: a Linear that is not deployed.

    A segmenter has no classifier of its own. Which structures are in sight is what its pooled
    features can tell, and so what a reprogrammed teacher can be judged by. Teacher and student are
    aligned on all scales, position by position, for a batch of patches has few samples.

    Args:
        student: A segmenter; its own masks are learnt beside it.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self._student = (student,)
        self.classifier = nn.Linear(_number(student, "width"), len(_words(student)))

    def answer(self, features: Tensor, batch: Batch) -> Tensor:
        """A logit for each query of each patch."""
        assert batch.queries is not None, "a batch of patches has queries"
        logits: Tensor = self.classifier(features).gather(1, batch.queries)
        return logits

    def of_student(self, output: Output, batch: Batch) -> Tensor:
        """From its pooled features."""
        return self.answer(output.features, batch)

    def loss(self, answer: Tensor, batch: Batch) -> Tensor:
        """Binary cross-entropy over the valid queries."""
        assert batch.masks is not None, "a batch of patches has masks"
        scores = at_least_float32(answer)
        there = batch.masks.flatten(2).amax(2).to(scores.dtype)
        each = F.binary_cross_entropy_with_logits(scores, there, reduction="none")
        return _over_valid(each, batch)

    def supervised(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """The masks, and which of them are empty."""
        return {
            "masks": label_loss(self._student[0], output, batch),
            "student": self.loss(self.of_student(output, batch), batch),
        }

    def imitation(self, answer: Tensor, wanted: Tensor, temperature: float, batch: Batch) -> Tensor:
        """Bernoulli's KL divergence of each softened answer."""
        softened, reference = answer[..., None] / temperature, wanted[..., None] / temperature
        return temperature**2 * _over_valid(bernoulli_kl(softened, reference), batch)

    def pairs(self, output: Output, taught: Output) -> Sequence[Pair]:
        """Maps of all scales, every position a row."""
        scales = paired(output.maps, taught.maps)
        if not scales:
            return ()
        own, theirs = scales[-1]
        space = smaller(own.shape[2:], theirs.shape[2:])
        return [(_rows(averaged(a, space)), _rows(averaged(b, space))) for a, b in scales]


def question_of(student: nn.Module) -> Question:
    """What is asked of this student's features."""
    return ClassOf(student) if isinstance(student, Student) else Shown(student)


def _rows(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2).flatten(0, 1)


def _over_valid(each: Tensor, batch: Batch) -> Tensor:
    assert batch.valid is not None, "a batch of patches says which queries are valid"
    return whole_batch_mean(each.flatten(), batch.valid.flatten().to(each.dtype))


def _number(student: Any, name: str) -> int:
    return int(getattr(student, name))


def _words(student: Any) -> tuple[str, ...]:
    return tuple(student.vocabulary)
