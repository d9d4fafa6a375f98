"""Whether single features know single facts: the mutual information gap (MIG)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

BINS = 20


@dataclass(frozen=True)
class Disentanglement:
    """The gap, and what chance alone makes of it.

    Compare it between networks measured alike, with as many samples and bins; alone it says little.

    Args:
        gap: Mean over the facts, 1 when for each a single feature tells all of it and no other
            feature tells any.
        by_factor: The gap of each fact.
        chance: The same with every fact shuffled: how far noise alone sets two features apart.
    """

    gap: float
    by_factor: dict[str, float]
    chance: float


def mutual_information_gap(
    latents: Float[Tensor, "samples width"],
    factors: Mapping[str, Int[Tensor, " samples"]],
    *,
    bins: int = BINS,
    permutations: int = 20,
    seed: int = 0,
) -> Disentanglement:
    """MIG of deterministic features, each cut into bins of equal frequency.

    Where many features say the same, as in most networks, no one stands out and the gap is near 0:
    look at the gap of `principal_components` too. The finite sample adds about
    (bins - 1) (values - 1) / 2N nats to each information; that of shuffled facts is subtracted.
    Chen et al., Isolating Sources of Disentanglement in VAEs, NeurIPS 2018.

    Args:
        latents: Pooled features.
        factors: Facts by name, such as the task and the class: a value from 0 up for each sample,
            -1 for samples that it does not concern.
        bins: For each feature; equal values share one.
        permutations: How often each fact is shuffled.
        seed: Of the shuffling.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, float] = {}
    chances = []
    for name, factor in factors.items():
        known = factor >= 0
        cut, values = equal_frequency_bins(latents[known], bins), factor[known]
        entropy = _entropy(values.bincount())
        if entropy == 0:
            raise ValueError(f"{name} has one value in all samples: there is nothing to know")
        orders = [torch.randperm(len(values), generator=generator) for _ in range(permutations)]
        shuffled = torch.stack([informations(cut, values[order]) for order in orders])
        bias = shuffled.mean(0)
        found[name] = (_lead(informations(cut, values) - bias) / entropy).item()
        chances.append((_lead(shuffled - bias).mean() / entropy).item())
    return Disentanglement(sum(found.values()) / len(found), found, sum(chances) / len(chances))


def principal_components(
    features: Float[Tensor, "samples width"], count: int
) -> Float[Tensor, "samples count"]:
    """Features along their directions of largest variance, where few are redundant."""
    centred = features.double() - features.double().mean(0)
    left, scales, _ = torch.linalg.svd(centred, full_matrices=False)
    components: Tensor = left[:, :count] * scales[:count]
    return components.to(features.dtype)


def equal_frequency_bins(
    latents: Float[Tensor, "samples width"], bins: int
) -> Int[Tensor, "samples width"]:
    """The bin of each value among those of its feature: as many in each as ties allow."""
    columns = latents.T.contiguous()
    ordered = columns.sort(dim=1).values
    first = torch.searchsorted(ordered, columns)
    last = torch.searchsorted(ordered, columns, right=True)
    # Equal values share the middle of their ranks, and so their bin, from either end.
    return ((first + last) * bins // (2 * len(latents))).T


def informations(
    cut: Int[Tensor, "samples width"], values: Int[Tensor, " samples"]
) -> Float[Tensor, " width"]:
    """Mutual information of each feature with a fact, in nats."""
    width, bins, kinds = cut.shape[1], int(cut.max()) + 1, int(values.max()) + 1
    places = (torch.arange(width) * bins + cut) * kinds + values[:, None]
    counts = places.flatten().bincount(minlength=width * bins * kinds).double()
    joint = counts.view(width, bins, kinds)
    return _entropy(joint.sum(2)) + _entropy(joint.sum(1)) - _entropy(joint.flatten(1))


def _entropy(counts: Tensor) -> Tensor:
    """Of the shares that counts make, along the last axis, in nats."""
    shares = counts.double() / counts.sum(-1, keepdim=True)
    entropy: Tensor = torch.special.entr(shares).sum(-1)
    return entropy


def _lead(informative: Tensor) -> Tensor:
    """By how much the first feature is ahead of the second, along the last axis."""
    best = informative.topk(2).values
    return best[..., 0] - best[..., 1]
