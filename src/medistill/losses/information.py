"""What one set of features tells: of another's, as much as possible, or of its input, little."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from medistill.losses.precision import at_least_float32, without_autocast


def infomax(
    features: Float[Tensor, "batch width"], wanted: Float[Tensor, "batch width"]
) -> Float[Tensor, ""]:
    """A bound on the information that features hold of others, by contrast within the batch.

    With cosines s_ij: log of the mean of exp(s_ij) over pairs of different samples, less the mean
    of s_ii. It is lowest where each sample is alike its own counterpart alone; 0 in a batch of one.
    Yang et al., Factorizing Knowledge in Neural Networks, ECCV 2022.

    Args:
        features: Of one network, from the whole batch.
        wanted: Of the other, same samples in the same order.
    """
    cosines, n = _cosines(features, wanted), len(features)
    if n < 2:
        return cosines.sum() * 0
    others = ~torch.eye(n, dtype=torch.bool, device=cosines.device)
    return cosines[others].exp().mean().log() - cosines.diagonal().mean()


def released_infomax(
    features: Float[Tensor, "batch width"], wanted: Float[Tensor, "batch width"]
) -> Float[Tensor, ""]:
    """`infomax` as the authors' code has it: both means over all n² entries.

    So the diagonal counts n times too little, and as exp(0) among the pairs of different samples.
    """
    cosines = _cosines(features, wanted)
    own = cosines.diagonal().diag()
    return (cosines - own).exp().mean().log() - own.mean()


def infomin(features: Float[Tensor, "batch width"], *, eps: float = 1e-5) -> Float[Tensor, ""]:
    """Divergence of each dimension from a standard normal one, by its mean and variance.

    KL = -½ (1 + log v - μ² - v), with the unbiased variance, averaged over the dimensions; 0 in a
    batch of one, which has no variance.
    Yang et al., Factorizing Knowledge in Neural Networks, ECCV 2022.

    Args:
        features: From the whole batch.
        eps: Added to the variance in the logarithm: dimensions that a ReLU silenced have none.
    """
    features = at_least_float32(features)
    if len(features) < 2:
        return features.sum() * 0
    variance, mean = torch.var_mean(features, dim=0)
    return (mean.square() + variance - 1 - (variance + eps).log()).mean() / 2


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    a, b = F.normalize(at_least_float32(a), dim=1), F.normalize(at_least_float32(b), dim=1)
    with without_autocast(a):
        return b @ a.T
