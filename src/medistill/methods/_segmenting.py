"""Segmentation as an objective: masks of the queried classes, judged one (sample, query) by one."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.losses.collective import whole_batch_mean
from medistill.losses.overlap import bce_with_dice, bernoulli_kl, literal_divergence
from medistill.methods._objectives import (
    AS_PROPOSED,
    PLAIN_LABELS,
    Imitated,
    Judged,
    Labels,
    Objective,
)
from medistill.models.segmenters.base import Answering, Segmenter
from medistill.types import Batch, Output, Task


class Segmenting(Objective):
    """Tasks whose classes are outlined by one network, which is asked by queries.

    Args:
        student: Knows the classes of all tasks; every part of it is shared and trained.
        tasks: In the order of `Batch.tasks`.
        labels: How masks are learnt.
        imitated: How the teacher's masks are compared.
    """

    imitation_weight: ClassVar[float] = 0.1

    def __init__(
        self,
        student: Segmenter,
        tasks: Sequence[Task],
        *,
        labels: Labels = PLAIN_LABELS,
        imitated: Imitated = AS_PROPOSED,
    ) -> None:
        super().__init__(student, student.multiples)
        self.tasks = tuple(tasks)
        self.pooled = labels.dice == "pooled"
        self.divergence = _divergence(imitated)
        self.temperature = imitated.temperature or 1.0

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """Patches, and the classes asked of each."""
        return batch.images, batch.queries

    def labels(self, output: Output, batch: Batch) -> Judged:
        """BCE + Dice of each (sample, query): the mean is pooled over all that are valid."""
        logits, masks, valid = _parts(output, batch)
        each = bce_with_dice(logits, masks, pooled_over=valid if self.pooled else None)
        return Judged(*_pieces(each, valid), batch.tasks.repeat_interleave(valid.shape[1]))

    def imitation(self, output: Output, batch: Batch, taught: Output) -> Float[Tensor, ""]:
        """Divergence from the teacher's masks, averaged over voxels and valid queries."""
        logits, _, valid = _parts(output, batch)
        assert taught.logits is not None, "a teacher of segmentation says masks"
        each = self.divergence(logits / self.temperature, taught.logits / self.temperature)
        return whole_batch_mean(*_pieces(each, valid)) * self.temperature**2

    def networks(self, by_task: Sequence[nn.Module]) -> dict[str, nn.Module]:
        """Each task's network, answering the classes of that task."""
        return {
            task.name: Answering(_segmenter(network), task.classes)
            for task, network in zip(self.tasks, by_task, strict=True)
        }

    def shared(self, network: nn.Module) -> nn.Module:
        """It answers every class that it knows."""
        segmenter = _segmenter(network)
        return Answering(segmenter, segmenter.vocabulary)


def _parts(output: Output, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    assert output.logits is not None, "a segmenter says logits"
    assert batch.masks is not None, "a batch of patches has masks"
    assert batch.valid is not None, "a batch of patches says which queries are valid"
    return output.logits, batch.masks, batch.valid


def _pieces(each: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    return each.flatten(), valid.flatten().to(each.dtype)


def _segmenter(network: nn.Module) -> Segmenter:
    assert isinstance(network, Segmenter), "experts are folded into a network of the same class"
    return network


def _divergence(imitated: Imitated) -> Any:
    found = _DIVERGENCES.get(imitated.loss)
    if found is None:
        raise UserError(
            f"method.imitated.loss {imitated.loss!r} compares features; the masks of a "
            f"segmentation know {' and '.join(_DIVERGENCES)}."
        )
    return found


_DIVERGENCES: Mapping[str, Any] = {"kl": bernoulli_kl, "literal": literal_divergence}
