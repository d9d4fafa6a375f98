"""Contrast of a sample with others: the noise-contrastive estimate."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def noise_contrast(
    pairs: Float[Tensor, " batch"],
    scores: Float[Tensor, "batch rows"],
    noise: Bool[Tensor, "batch rows"],
) -> Float[Tensor, " batch"]:
    """How badly each anchor tells its pair from m samples of noise, drawn uniformly of N.

    l = -log(h_0 / (h_0 + m/N)) - sum_j log((m/N) / (h_j + m/N)). Both terms depend on N*h alone, so
    that is what comes in, as logarithms: nothing overflows, and no guard is added to a denominator.
    Tian et al., Contrastive Representation Distillation, ICLR 2020, equations 17 to 20.

    Args:
        pairs: log(N*h_0) of each anchor and its pair.
        scores: log(N*h_j) of each anchor and each row.
        noise: Which rows are the noise of which anchor; an anchor without any has a loss of 0.
    """
    amount = noise.sum(1).to(scores.dtype).log()
    missed = F.softplus(amount - pairs)
    mistaken = F.softplus(scores - amount[:, None]).masked_fill(~noise, 0)
    return missed + mistaken.sum(1)
