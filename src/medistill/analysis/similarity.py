"""How alike networks see: the same images each, or each the images of its own task."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import matrix_norm
from torch.nn import functional as F

from medistill.losses.similarity import MINIMUM_ROWS, unbiased_hsic


def cka_matrix(
    features: Sequence[Float[Tensor, "samples _"]], *, batch_size: int = 256, seed: int = 0
) -> Float[Tensor, "networks networks"]:
    """Unbiased linear CKA of every pair of networks on the same images.

    The parts are averaged over batches before their ratio is taken, so that neither the number of
    images nor the size of a batch moves the result. It may leave [0, 1] a little; features that are
    constant have no geometry, and are like nothing.
    Nguyen et al., Do Wide and Deep Networks Learn the Same Things?, ICLR 2021.

    Args:
        features: Of each network, same samples in the same order; widths may differ.
        batch_size: Samples whose Gram matrices are compared at once.
        seed: Of the order in which samples come together: data sets are sorted by class.
    """
    samples = _samples(features)
    scaled = [_scaled(each) for each in features]
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    # Batches of nearly one size: a short last one would weigh as much as the others.
    batches = order.tensor_split(max(1, -(-len(order) // max(batch_size, 2 * MINIMUM_ROWS))))
    hsic = torch.stack([_pairwise_hsic([each[rows] for each in scaled]) for rows in batches]).mean(
        0
    )
    own = hsic.diagonal().clamp_min(0).sqrt()
    known = own.outer(own) > 0
    return torch.where(known, hsic / own.outer(own).masked_fill(~known, 1), 0).float()


def covariance_similarity(
    features: Sequence[Float[Tensor, "_ width"]],
) -> Float[Tensor, "tasks tasks"]:
    """Cosine of the covariances of every pair: how far they vary along the same directions.

    The rows need not be paired, so tasks may be compared on images of their own. All features must
    live in one space: those of one encoder, or of experts in one network.

    Args:
        features: Of each task, in the same dimensions; numbers of samples may differ.
    """
    flat = torch.stack([F.normalize(_covariance(each).flatten(), dim=0) for each in features])
    return (flat @ flat.T).float()


def _samples(features: Sequence[Tensor]) -> int:
    """How many all have; refuses what CKA cannot compare."""
    rows = {len(each) for each in features}
    if len(rows) != 1 or min(rows) < MINIMUM_ROWS:
        raise ValueError(f"features of {sorted(rows)} samples: CKA needs the same {MINIMUM_ROWS}")
    return rows.pop()


def _scaled(features: Tensor) -> Tensor:
    """Centred and of norm 1, in double: shifts and scales cancel, but not in float32."""
    centred = features.double() - features.double().mean(0)
    norm: Tensor = matrix_norm(centred)
    constant = norm <= 1e-6 * matrix_norm(features.double())
    return centred.masked_fill(constant, 0) / norm.masked_fill(constant, 1)


def _pairwise_hsic(features: Sequence[Tensor]) -> Tensor:
    grams = [each @ each.T for each in features]
    return torch.stack([torch.stack([unbiased_hsic(a, b) for b in grams]) for a in grams])


def _covariance(features: Tensor) -> Tensor:
    centred: Tensor = features.double() - features.double().mean(0)
    return centred.T @ centred
