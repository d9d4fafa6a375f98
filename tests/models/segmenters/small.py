"""Segmenters so small that a test of them takes milliseconds."""

from typing import Any

import torch
from torch import Tensor

from medistill.models.segmenters.base import Segmenter, build_segmenter

CLASSES = ("liver", "spleen", "left kidney")
SMALL: dict[str, Any] = {
    "widths": [4, 6, 8], "hidden": 12, "heads": 2, "layers": 2, "feedforward": 10, "embedding": 14,
    "mask": 5,
}  # fmt: skip


def sat(vocabulary: tuple[str, ...] = CLASSES, name: str = "sat/unet", **options: Any) -> Segmenter:
    return build_segmenter(name, {**SMALL, **options}, vocabulary).eval()


def asked(*queries: list[int]) -> Tensor:
    return torch.tensor(queries)


def logits(segmenter: Segmenter, images: Tensor, queries: Tensor) -> Tensor:
    with torch.no_grad():
        found = segmenter(images, queries).logits
    assert found is not None
    return found


def moved(segmenter: Segmenter) -> Segmenter:
    """With every number changed, norms and biases too, so that none of them is trivial."""
    with torch.no_grad():
        for parameter in segmenter.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return segmenter
