"""The few nouns that every package shares.

Axes are always `(batch, channels, *space)`, in 2D and in 3D alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

Kind = Literal["classification", "segmentation", "unlabelled"]


@dataclass(frozen=True)
class Task:
    """One question that a deployed network answers.

    Args:
        name: How recipes, folders and reports call it.
        kind: What its targets are; `unlabelled` has none.
        classes: Names of the classes, in the order of the targets.
        samples: How many samples the whole data set holds: the rows of a memory bank.
        region: Part of the body that it looks at; tasks of one region may share what is theirs.
            Its own name where nobody says.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    samples: int
    region: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "region", self.region or self.name)


def vocabulary(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Every class that some task asks for, once, in the order of the tasks."""
    return tuple(dict.fromkeys(name for task in tasks for name in task.classes))


@dataclass(frozen=True)
class Batch:
    """What a loader yields.

    Args:
        images: In [0, 1], three channels in 2D, and each network normalises for itself; patches of
            prepared volumes, of one channel, in 3D.
        targets: Class of each sample; -1 where it has no label. Of a segmentation, 0 where `masks`
            are known.
        tasks: Index of each sample's task, in the order of the recipe's roots.
        samples: Position of each sample in the whole data: with `views`, the key of a cache.
        views: Number of the augmented view; 0 is the image as it is.
        weights: Weight of each sample in the supervised loss.
        queries: Of a segmentation: the classes asked of each sample, by their places in the
            `vocabulary` of all tasks.
        valid: Which of them are asked; the rest only fill up rows of one length.
        masks: Where each of them is, 0 or 1; they may overlap.
    """

    images: Float[Tensor, "batch channels *space"]
    targets: Int[Tensor, " batch"]
    tasks: Int[Tensor, " batch"]
    samples: Int[Tensor, " batch"]
    views: Int[Tensor, " batch"]
    weights: Float[Tensor, " batch"]
    queries: Int[Tensor, "batch queries"] | None = None
    valid: Bool[Tensor, "batch queries"] | None = None
    masks: UInt8[Tensor, "batch queries *space"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(
        self, device: torch.device | str, *, memory_format: torch.memory_format | None = None
    ) -> "Batch":
        """The same batch on a device; `memory_format` concerns the images alone."""
        moved = {name: t.to(device, non_blocking=True) for name, t in self._tensors().items()}
        if memory_format is not None:
            moved["images"] = moved["images"].contiguous(memory_format=memory_format)
        return replace(self, **moved)

    def at(self, rows: Int[Tensor, " rows"] | slice) -> "Batch":
        """Some of its samples."""
        return replace(self, **{name: tensor[rows] for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Tensor]:
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


class Output(NamedTuple):
    """What a network, or a teacher, gives for a batch.

    Args:
        logits: One per class, or one per query and voxel; None for an encoder without a head.
        features: What the head reads: the global average of the last map, but for adapters that
            read tokens of their own.
        maps: Feature maps, one per scale, fine to coarse; empty when only vectors are known.
    """

    logits: Float[Tensor, "batch classes *space"] | None
    features: Float[Tensor, "batch width"]
    maps: tuple[Tensor, ...] = ()
