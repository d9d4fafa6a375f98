"""Losses against the labels."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from medistill.losses.collective import whole_batch_mean
from medistill.losses.precision import at_least_float32

UNLABELLED = -1  # the target of a sample without a label


def cross_entropy(
    logits: Float[Tensor, "batch classes"],
    targets: Int[Tensor, " batch"],
    weights: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Cross-entropy, averaged by weight over the labelled samples of the batch.

    Args:
        logits: In any precision; the loss is computed in float32.
        targets: Class of each sample; one of -1 does not count.
        weights: Weight of each sample, such as its class's inverse frequency.
    """
    each = each_cross_entropy(logits, targets)
    return whole_batch_mean(each, weights * (targets != UNLABELLED))


def each_cross_entropy(
    logits: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Cross-entropy of each sample, 0 where it has no label."""
    return F.cross_entropy(
        at_least_float32(logits), targets, ignore_index=UNLABELLED, reduction="none"
    )
