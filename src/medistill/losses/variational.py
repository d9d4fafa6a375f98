"""Bounds on what two networks know of each other."""

from jaxtyping import Float
from torch import Tensor

from medistill.losses.precision import at_least_float32


def gaussian_surprise(
    mean: Float[Tensor, "batch channels *space"],
    wanted: Float[Tensor, "batch channels *space"],
    variance: Float[Tensor, " channels"],
) -> Float[Tensor, " batch"]:
    """Negative log-likelihood of maps under a Gaussian of one variance per channel, by sample.

    Without its constant, and a mean over all entries: it may be negative. Its least over the
    variances, where each is the mean squared error of its channel, bounds from below what the
    predicted maps leave unknown of the wanted ones.
    Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019, equation 5.

    Args:
        mean: What a network predicts of the maps.
        wanted: The maps.
        variance: Of the errors of each channel; positive.
    """
    errors = (at_least_float32(mean) - at_least_float32(wanted)).square()
    spread = at_least_float32(variance).view(-1, *(1 for _ in mean.shape[2:]))
    return 0.5 * (errors / spread + spread.log()).flatten(1).mean(1)
