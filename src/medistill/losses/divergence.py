"""Divergences between two sets of predicted classes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional as F

from medistill.losses.collective import whole_batch_mean
from medistill.losses.precision import at_least_float32
from medistill.losses.supervised import UNLABELLED


def softened_kl(
    logits: Float[Tensor, "batch classes"],
    wanted: Float[Tensor, "batch classes"],
    temperature: float,
) -> Float[Tensor, ""]:
    """KL divergence of softened classes from the wanted ones, times the squared temperature.

    The factor keeps the size of the gradient when the temperature changes; as it grows, the loss
    tends to the squared difference of the centred logits over twice the number of classes.
    Hinton et al., Distilling the Knowledge in a Neural Network, 2015.

    Args:
        logits: Of the network that learns.
        wanted: Of the network to imitate: the reference distribution.
        temperature: Divides both; 1 leaves them as they are.
    """
    log_own = F.log_softmax(at_least_float32(logits) / temperature, dim=1)
    log_wanted = F.log_softmax(at_least_float32(wanted) / temperature, dim=1)
    each = F.kl_div(log_own, log_wanted, reduction="none", log_target=True).sum(1)
    return whole_batch_mean(each) * temperature**2


def feature_kl(
    features: Float[Tensor, "batch width"],
    wanted: Float[Tensor, "batch width"],
    temperature: float = 10.0,
) -> Float[Tensor, ""]:
    """`softened_kl` of features, as if their dimensions were classes.

    A constant added to all dimensions of a sample changes nothing; at a high temperature it is half
    the variance over the dimensions of the difference, averaged over the batch.
    Zhou et al., Low-Rank Knowledge Decomposition for Medical Foundation Models, CVPR 2024, eq. 9.

    Args:
        features: Of the network that learns, brought to the width of those to imitate.
        wanted: Of the network to imitate.
        temperature: Divides both.
    """
    return softened_kl(features, wanted, temperature)


def decoupled_kl(
    logits: Float[Tensor, "batch classes"],
    wanted: Float[Tensor, "batch classes"],
    targets: Int[Tensor, " batch"],
    temperature: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The two parts of `softened_kl`: the labelled class against the rest, and the rest alone.

    Of each sample, softened_kl = first + (1 - p) * second, where p is the softened probability that
    the wanted logits give to the labelled class. With two classes the second is 0.
    Zhao et al., Decoupled Knowledge Distillation, CVPR 2022.

    Args:
        logits: Of the network that learns.
        wanted: Of the network to imitate: the reference distribution.
        targets: Class of each sample; one of -1 does not count, for it has no labelled class.
        temperature: Divides both; 1 leaves them as they are.
    """
    own = _decoupled(at_least_float32(logits) / temperature, targets)
    reference = _decoupled(at_least_float32(wanted) / temperature, targets)
    target, others = (
        F.kl_div(a, b, reduction="none", log_target=True).sum(1)
        for a, b in zip(own, reference, strict=True)
    )
    labelled = (targets != UNLABELLED).to(target.dtype)
    scale = temperature**2
    return whole_batch_mean(target, labelled) * scale, whole_batch_mean(others, labelled) * scale


def decorrelation(
    predicted: Float[Tensor, "rows columns"],
    wanted: Float[Tensor, "rows columns"],
    *,
    eps: float = 1e-8,
) -> Float[Tensor, ""]:
    """One minus the mean Pearson correlation of the rows: 0 where each is a*row + b with a > 0.

    Transpose both for that of the columns. Rows of two probabilities correlate by 1 or -1 alone; a
    single column does with nothing, and gives 1 without a gradient.
    Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022.

    Args:
        predicted: Of the network that learns, by custom probabilities.
        wanted: Of the network to imitate.
        eps: Added to the product of norms, so that constant rows correlate by 0.
    """
    a, b = at_least_float32(predicted), at_least_float32(wanted)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    correlations: Tensor = (a * b).sum(1) / (vector_norm(a, dim=1) * vector_norm(b, dim=1) + eps)
    return 1 - correlations.mean()


def _decoupled(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of being the target or not, and of the other classes among themselves."""
    classes = logits.shape[1]
    target = logits.gather(1, targets.clamp_min(0)[:, None])
    # The classes that follow the target, cyclically: all but itself, without a mask to search.
    places = targets[:, None] + torch.arange(1, classes, device=logits.device)
    others = logits.gather(1, places % classes)
    binary = torch.cat([target, others.logsumexp(1, keepdim=True)], dim=1)
    return binary.log_softmax(1), others.log_softmax(1)
