"""What RD asks of a segmenter's pooled features: which of the classes asked for a patch shows."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from medistill.losses.collective import whole_batch_mean
from medistill.losses.overlap import bernoulli_kl
from medistill.losses.precision import at_least_float32
from medistill.methods._alone import label_loss
from medistill.methods._asked import Pair
from medistill.models.scales import averaged, paired, smaller
from medistill.models.segmenters.base import Segmenter
from medistill.types import Batch, Output


class Shown(nn.Module):
    """Which of the classes asked for a patch shows: a Linear that is not deployed.

    A segmenter has no classifier of its own. Which structures are in sight is what its pooled
    features can tell, and so what a reprogrammed teacher can be judged by. Teacher and student are
    aligned on all scales, position by position, for a batch of patches has few samples.

    Args:
        student: A segmenter; its own masks are learnt beside it.
    """

    def __init__(self, student: Segmenter) -> None:
        super().__init__()
        # In a tuple, so that the weights are none of the classifier's.
        self._student = (student,)
        self.classifier = nn.Linear(student.width, len(student.vocabulary))

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


def _rows(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2).flatten(0, 1)


def _over_valid(each: Tensor, batch: Batch) -> Tensor:
    assert batch.valid is not None, "a batch of patches says which queries are valid"
    return whole_batch_mean(each.flatten(), batch.valid.flatten().to(each.dtype))
