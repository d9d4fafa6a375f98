"""Segmenters, tasks and batches of patches so small that a test of them takes milliseconds."""

import torch

from medistill.models.segmentation_teachers import FrozenSegmenter
from medistill.models.segmenters.base import Segmenter, build_segmenter
from medistill.types import Batch, Task, vocabulary

PATCH = (8, 8, 4)
OPTIONS = {"widths": [4, 8], "convs": 1, "hidden": 16, "heads": 2, "layers": 1, "dropout": 0.0}
REGIONS = (
    Task("hippocampus", "segmentation", ("head", "tail"), 8, "brain"),
    Task("heart", "segmentation", ("ventricle",), 8),
)
WORDS = vocabulary(REGIONS)


def tiny_segmenter(words: tuple[str, ...] = WORDS) -> Segmenter:
    """A U-Net of two stages that answers queries."""
    return build_segmenter("sat/unet", OPTIONS, words)


def tiny_segmentation_teacher(words: tuple[str, ...] = WORDS) -> FrozenSegmenter:
    """One that learnt nothing, asked for the classes of both regions."""
    return FrozenSegmenter(tiny_segmenter(words), WORDS, PATCH)


def tiny_patches(size: int = 4) -> Batch:
    """Random patches of both regions; each is asked for the classes of its own."""
    tasks = torch.arange(size) % 2
    asked = torch.tensor([[0, 1], [2, 0]])
    valid = torch.tensor([[True, True], [True, False]])
    masks = torch.rand(size, 2, *PATCH) > 0.7
    return Batch(
        images=torch.randn(size, 1, *PATCH),
        targets=torch.zeros(size, dtype=torch.long),
        tasks=tasks,
        samples=torch.arange(size),
        views=torch.zeros(size, dtype=torch.long),
        weights=torch.ones(size),
        queries=asked[tasks],
        valid=valid[tasks],
        masks=(masks & valid[tasks][..., None, None, None]).byte(),
    )
