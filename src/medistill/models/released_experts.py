"""The low-rank experts in a released decomposition, put where our own are."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import cast

import torch
from torch import Tensor

from medistill.errors import UserError
from medistill.models.lowrank.experts import Decomposed, with_experts
from medistill.models.lowrank.factors import Expert
from medistill.models.released_segmenters.base import ReleasedSegmenter
from medistill.models.segmenters.base import Segmenter

Factors = list[tuple[Tensor, Tensor]]
"""A and B of each convolution, in the order of the segmenter's `multiples`."""

EDGE = 3  # of every kernel that is decomposed: a factor's inner side is the rank times it


def with_released_experts(
    release: type[ReleasedSegmenter], segmenter: Segmenter, state: Mapping[str, Tensor], role: str
) -> Decomposed:
    """A copy of a segmenter with the experts of a file.

    Args:
        release: How the file calls them.
        segmenter: With the file's shared weights in it.
        state: The file's tensors, each by its first name and without the names of wrappers.
        role: How errors call the weights.

    Raises:
        UserError: The file has no experts, or one that does not fit.
    """
    names = [f"{name}.weight" for name in segmenter.multiples or ()]
    stems = [release.key(name).removesuffix("conv.weight") for name in names]
    found = list(_experts(state, stems))
    if not found:
        raise UserError(f"{role} weights: the file has no low-rank experts; leave `expert` out.")
    # Read off the first layer, which is one of the encoder, of multiple 1.
    ranks = [len(factors[0][0]) // EDGE for factors in found]
    decomposed = with_experts(
        segmenter,
        ranks,
        # Its authors scale by alpha / r where the ranks are one, and by 2 where they differ.
        scaling="alpha_over_r" if len(set(ranks)) == 1 else "fixed",
        multiples=segmenter.multiples,
    )
    for place, (own, factors) in enumerate(zip(decomposed.experts, found, strict=True)):
        if not _filled(cast(Expert, own), factors):
            raise UserError(
                f"{role} weights: expert {place} is not of rank {ranks[place]} in every layer of "
                "the encoder and twice that in the decoder; nothing was loaded."
            )
    return decomposed


def holds_experts(keys: Iterable[str]) -> bool:
    """Whether some of a file's tensors are factors of low-rank experts."""
    return any(".lora_A_list." in key for key in keys)


def place_of(expert: str | int, release: type[ReleasedSegmenter], experts: int, role: str) -> int:
    """The place of the expert of a region.

    Raises:
        UserError: No such region, or no such place.
    """
    places = {name: place for place, name in enumerate(release.regions[:experts])}
    place = places.get(expert, -1) if isinstance(expert, str) else expert
    if not 0 <= place < experts:
        raise UserError(
            f"{role}: there is no expert {expert!r}. Choose a place from 0 to {experts - 1}, or "
            f"{', '.join(places)}."
        )
    return place


def _experts(state: Mapping[str, Tensor], stems: list[str]) -> Iterator[Factors]:
    for place in count():
        keys = [(f"{s}lora_A_list.{place}", f"{s}lora_B_list.{place}") for s in stems]
        # The first gap ends the list: a file says nowhere how many experts it has.
        if not keys or not all(a in state and b in state for a, b in keys):
            return
        yield [(state[a], state[b]) for a, b in keys]


@torch.no_grad()
def _filled(own: Expert, factors: Factors) -> bool:
    """Whether factors are of an expert's shapes; then they are its own."""
    # All shapes first, for an expert that is filled in half would be no error later.
    pairs = list(zip(own.pairs(), factors, strict=True))
    fits = all(a.shape == x.shape and b.shape == y.shape for (a, b), (x, y) in pairs)
    if fits:
        for (a, b), (x, y) in pairs:
            a.copy_(x)
            b.copy_(y)
    return fits
