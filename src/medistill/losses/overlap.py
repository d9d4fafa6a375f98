"""Losses between a predicted mask and the true one, or a teacher's: one a (sample, query)."""

from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from medistill.losses.precision import at_least_float32

EPS = 1e-7


def bce_with_dice(
    logits: Float[Tensor, "batch queries *space"],
    masks: UInt8[Tensor, "batch queries *space"],
    *,
    pooled_over: Bool[Tensor, "batch queries"] | None = None,
) -> Float[Tensor, "batch queries"]:
    """Binary cross-entropy, averaged over the voxels, plus the soft Dice loss of each query.

    Zhao et al., One Model to Rule them All (SAT), 2023; eq. 7 of LoRKD without its misprints.

    Args:
        logits: In any precision; the loss is computed in float32.
        masks: 0 or 1.
        pooled_over: One Dice over all these queries of the batch together, as eq. 7 prints it,
            instead of one each. An ablation: large organs then outweigh small ones.
    """
    scores, truth = at_least_float32(logits), masks.to(at_least_float32(logits).dtype)
    voxels = F.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    return voxels.flatten(2).mean(2) + dice_loss(scores.sigmoid(), truth, pooled_over=pooled_over)


def dice_loss(
    shares: Float[Tensor, "batch queries *space"],
    truth: Float[Tensor, "batch queries *space"],
    *,
    pooled_over: Bool[Tensor, "batch queries"] | None = None,
) -> Float[Tensor, "batch queries"]:
    """1 - (2 Σ p s + ε) / (Σ p² + Σ s² + ε) over the voxels of each query, in [0, 1].

    The squares make it 0 at p = s, fractions included. Where nothing is to be found it is near 0
    only when Σ p² is far below ε, and near 1 otherwise: the cross-entropy teaches absence.
    """
    both = (shares * truth).flatten(2).sum(2)
    sizes = (shares.square() + truth.square()).flatten(2).sum(2)
    if pooled_over is not None:
        both, sizes = ((part * pooled_over).sum().expand_as(part) for part in (both, sizes))
    return 1 - (2 * both + EPS) / (sizes + EPS)


def bernoulli_kl(
    logits: Float[Tensor, "batch queries *space"], wanted: Float[Tensor, "batch queries *space"]
) -> Float[Tensor, "batch queries"]:
    """KL divergence of a voxel's yes or no from the wanted one, averaged over the voxels.

    Args:
        logits: Of the network that learns, in any precision.
        wanted: Of the network to imitate.
    """
    own, reference = at_least_float32(logits), at_least_float32(wanted)
    yes = reference.sigmoid()
    # log σ(z) - log σ(-z) = z. Not by softplus, which torch cuts off beyond 20.
    each = F.logsigmoid(-reference) - F.logsigmoid(-own) + yes * (reference - own)
    return each.flatten(2).mean(2)


def literal_divergence(
    logits: Float[Tensor, "batch queries *space"], wanted: Float[Tensor, "batch queries *space"]
) -> Float[Tensor, "batch queries"]:
    """Σ p log(p / q) of the wanted p as eq. 8 of LoRKD prints it, averaged over the voxels.

    An ablation: of independent voxels it is no divergence. It can be negative (p = 0.1, q = 0.9
    gives -0.22), and its gradient pushes every q towards 1.
    """
    own, reference = at_least_float32(logits), at_least_float32(wanted)
    each = reference.sigmoid() * (F.logsigmoid(reference) - F.logsigmoid(own))
    return each.flatten(2).mean(2)
