"""Losses between the features of two networks, of one width, sample by sample."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from medistill.losses.collective import whole_batch_mean
from medistill.losses.precision import at_least_float32


def feature_mse(
    features: Float[Tensor, "batch width"], wanted: Float[Tensor, "batch width"]
) -> Float[Tensor, ""]:
    """Mean square of the difference, over all dimensions and samples.

    Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015.
    """
    difference = at_least_float32(features) - at_least_float32(wanted)
    return whole_batch_mean(difference.square().mean(1))


def feature_cosine(
    features: Float[Tensor, "batch width"], wanted: Float[Tensor, "batch width"]
) -> Float[Tensor, ""]:
    """One minus the cosine, averaged over the samples: in [0, 2], whatever the lengths."""
    cosine = F.cosine_similarity(at_least_float32(features), at_least_float32(wanted), dim=1)
    return whole_batch_mean(1 - cosine)
