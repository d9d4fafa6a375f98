"""One formula resizes an image wherever it is done: in the store, in a teacher, in an ONNX file.

A separable triangle filter that widens when it shrinks, as `F.interpolate(mode="bilinear",
antialias=True, align_corners=False)` does, but written as a product of two matrices: plain
operations that ONNX knows, so that heights and widths may stay open in an exported graph.
"""

import torch
from torch import Tensor

from medistill.shapes import Float


def resize(images: Float[Tensor, "*batch height width"], size: int) -> Float[Tensor, "*batch a b"]:
    """Images stretched or shrunk to `size` x `size`, without aliasing.

    Args:
        images: Of any range; the result stays within it.
        size: Height and width of the result.
    """
    rows = _triangle_filter(images.shape[-2], size).to(images)
    columns = _triangle_filter(images.shape[-1], size).to(images)
    return rows @ images @ columns.T


def _triangle_filter(length: int | torch.SymInt, size: int) -> Float[Tensor, "size length"]:
    # In double, because positions in an image of thousands of pixels leave float32 few digits;
    # with tensors, because a comparison of `length` itself would fix it in an exported graph.
    scale = torch.scalar_tensor(length, dtype=torch.float64) / size
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * scale
    taps = torch.arange(length, dtype=torch.float64) + 0.5
    distance = (taps - centres[:, None]).abs() / scale.clamp(min=1)
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)
