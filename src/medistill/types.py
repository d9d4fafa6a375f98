"""The few nouns that every package shares.

Axes are always `(batch, channels, *space)`, in 2D and in 3D alike.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Kind = Literal["classification", "unlabelled"]


@dataclass(frozen=True)
class Task:
    """One question that a deployed network answers.

    Args:
        name: How recipes, folders and reports call it.
        kind: What its targets are; `unlabelled` has none.
        classes: Names of the classes, in the order of the targets.
        samples: How many samples the whole data set holds: the rows of a memory bank.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    samples: int


@dataclass(frozen=True)
class Batch:
    """What a loader yields.

    Args:
        images: In [0, 1], three channels in 2D; each network normalises for itself.
        targets: Class of each sample; -1 where it has no label.
        tasks: Index of each sample's task, in the order of the recipe's roots.
        samples: Position of each sample in the whole data: with `views`, the key of a cache.
        views: Number of the augmented view; 0 is the image as it is.
        weights: Weight of each sample in the supervised loss.
    """

    images: Float[Tensor, "batch channels *space"]
    targets: Int[Tensor, " batch"]
    tasks: Int[Tensor, " batch"]
    samples: Int[Tensor, " batch"]
    views: Int[Tensor, " batch"]
    weights: Float[Tensor, " batch"]

    def __len__(self) -> int:
        return len(self.images)

    def to(
        self, device: torch.device | str, *, memory_format: torch.memory_format | None = None
    ) -> "Batch":
        """The same batch on a device; `memory_format` concerns the images alone."""
        moved = {
            field.name: getattr(self, field.name).to(device, non_blocking=True)
            for field in fields(self)
        }
        if memory_format is not None:
            moved["images"] = moved["images"].contiguous(memory_format=memory_format)
        return replace(self, **moved)


class Output(NamedTuple):
    """What a network, or a teacher, gives for a batch.

    Args:
        logits: One per class; None for an encoder without a head.
        features: What the head reads: the global average of the last map, but for adapters that
            read tokens of their own.
        maps: Feature maps, one per scale, fine to coarse; empty when only vectors are known.
    """

    logits: Float[Tensor, "batch classes"] | None
    features: Float[Tensor, "batch width"]
    maps: tuple[Tensor, ...] = ()
