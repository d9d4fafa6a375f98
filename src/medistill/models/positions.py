"""What a vision transformer learnt of positions, brought to images of another size."""

import math

import torch
from timm.layers.pos_embed import resample_abs_pos_embed, resample_abs_pos_embed_nhwc
from torch import Tensor
from torch.nn import functional as F


def fitted(table: Tensor, shape: torch.Size) -> Tensor:
    """A table of positions for another grid of patches.

    A table of grid points is interpolated bicubically, its class tokens left alone. A table of
    distances, as SAM adds to its attention, is interpolated linearly: what SAM itself does at each
    step with a table of another size.

    Args:
        table: (distances, width), (1, tokens, width) or (1, rows, columns, width).
        shape: Likewise, of the same width.
    """
    if table.ndim == 2:
        return F.interpolate(table.T[None], size=shape[0], mode="linear")[0].T
    if table.ndim == 4:
        grid: Tensor = resample_abs_pos_embed_nhwc(table, list(shape[1:3]))
        return grid
    tokens = table.shape[1] - math.isqrt(table.shape[1]) ** 2
    side = math.isqrt(shape[1] - tokens)
    sequence: Tensor = resample_abs_pos_embed(table, [side, side], num_prefix_tokens=tokens)
    return sequence
