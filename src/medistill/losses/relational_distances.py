"""Distances and angles between the samples of a batch, in one network and in another.

Under several processes, pass features through `collective.whole_batch` first. Both losses are
unmoved by a shift, a rotation or a scaling of either side.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from medistill.losses.precision import at_least_float32, without_autocast

CLOSEST = 1e-4  # of the mean distance: nearer samples have no direction from each other


def distance_discrepancy(
    features: Float[Tensor, "batch width"], wanted: Float[Tensor, "batch wanted_width"]
) -> Float[Tensor, ""]:
    """Huber loss between the distances of all pairs, each over the mean distance of its network.

    The mean runs over all n^2 entries, the diagonal included.
    Park et al., Relational Knowledge Distillation, CVPR 2019, equations 4 to 6.

    Args:
        features: Of the network that learns.
        wanted: Of the network to imitate; no gradient reaches it.
    """
    return F.smooth_l1_loss(_distances(features), _distances(wanted.detach()))


def angle_discrepancy(
    features: Float[Tensor, "batch width"], wanted: Float[Tensor, "batch wanted_width"]
) -> Float[Tensor, ""]:
    """Huber loss between the cosines of the angles of all triplets.

    The mean runs over all n^3 entries, degenerate triplets included. Park et al., equations 7 to 9.

    Args:
        features: Of the network that learns.
        wanted: Of the network to imitate; no gradient reaches it.
    """
    return F.smooth_l1_loss(_cosines(features), _cosines(wanted.detach()))


def _gram(features: Tensor) -> Tensor:
    """Inner products of the centred rows, in float64.

    All distances and angles follow from them at the cost of n^2 products of rows. Float64 and
    centring keep the digits of samples that lie close together, which float32 would lose.
    """
    rows = features.double()
    rows = rows - rows.mean(0)
    with without_autocast(rows):
        return rows @ rows.T


def _squares(gram: Tensor) -> Tensor:
    own = gram.diagonal()
    return (own[:, None] + own - 2 * gram).clamp_min(0)


def _distances(features: Tensor, *, eps: float = 1e-12) -> Tensor:
    # Below eps the clamp has no gradient, where that of a square root would be infinite.
    distances = _squares(_gram(features)).clamp_min(eps).sqrt()
    itself = torch.eye(len(distances), dtype=torch.bool, device=distances.device)
    distances = distances.masked_fill(itself, 0)
    mean = distances.sum() / max(distances.numel() - len(distances), 1)
    return (distances / mean.clamp_min(eps)).to(at_least_float32(features).dtype)


def _cosines(features: Tensor) -> Tensor:
    """Entry (j, i, k) is the cosine of the angle at sample j between samples i and k."""
    gram = _gram(features)
    squares = _squares(gram)
    # Relative to the mean, so that the loss keeps its invariance to scaling. Without it the
    # gradient of equal rows reaches 1e11.
    degenerate = squares <= squares.detach().mean() * CLOSEST**2
    inverse = squares.masked_fill(degenerate, 1).rsqrt().masked_fill(degenerate, 0)
    # (x_i - x_j)(x_k - x_j), multiplied out
    products = gram - gram[:, :, None] - gram[:, None] + gram.diagonal()[:, None, None]
    cosines = products * inverse[:, :, None] * inverse[:, None]
    return cosines.to(at_least_float32(features).dtype)
