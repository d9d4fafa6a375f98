"""A student of one task, whatever the kind: what it is shown, judged by, and shipped as."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from medistill.losses.collective import whole_batch_mean
from medistill.losses.supervised import cross_entropy
from medistill.models.networks import Student
from medistill.types import Batch, Output, Task


def shown(batch: Batch) -> tuple[Any, ...]:
    """What a student is called with: images, and the queries where there are some."""
    return (batch.images,) if batch.queries is None else (batch.images, batch.queries)


def label_loss(student: nn.Module, output: Output, batch: Batch) -> Float[Tensor, ""]:
    """Cross-entropy against the classes, or BCE + Dice against the masks."""
    if isinstance(student, Student):
        assert output.logits is not None, "a student has a head"
        return cross_entropy(output.logits, batch.targets, batch.weights)
    judged = _outlining(student).labels(output, batch)
    return whole_batch_mean(judged.each, judged.weights)


def shipped(student: nn.Module) -> nn.Module:
    """The student as it is, or a segmenter asked for all that it knows."""
    return student if isinstance(student, Student) else _outlining(student).shared(student)


def _outlining(student: nn.Module) -> Any:
    from medistill.methods._segmenting import Segmenting
    from medistill.models.segmenters.base import Segmenter

    assert isinstance(student, Segmenter), "a student classifies, or outlines"
    return Segmenting(student, [Task("all", "segmentation", student.vocabulary, 0)])
