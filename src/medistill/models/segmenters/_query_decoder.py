"""Queries look at a coarse embedding of the image, and come back as embeddings of masks."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.models.segmenters._unet3d import Three


class QueryLayer(nn.Module):
    """A decoder layer of DETR with its norms first and without attention among the queries.

    Args:
        hidden: Length of queries and voxels.
        heads: Of the attention.
        feedforward: Hidden width of its last two Linears.
        dropout: In training.
    """

    def __init__(self, hidden: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden, heads, dropout, batch_first=True)
        self.linear1 = nn.Linear(hidden, feedforward)
        self.linear2 = nn.Linear(feedforward, hidden)
        # The published layer has a norm that nothing uses; its parameters are counted and stored.
        self.norm1 = nn.LayerNorm(hidden).requires_grad_(False)
        self.norm2 = nn.LayerNorm(hidden)
        self.norm3 = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The queries after one look."""
        seen, _ = self.attention(self.norm2(queries), keys, values, need_weights=False)
        queries = queries + self.dropout(seen)
        hidden = self.dropout(F.relu(self.linear1(self.norm3(queries))))
        thought: Tensor = queries + self.dropout(self.linear2(hidden))
        return thought


class QueryDecoder(nn.Module):
    """Several such layers, and a norm.

    Args:
        layers: How many.
        hidden: As in `QueryLayer`.
        heads: Likewise.
        feedforward: Likewise.
        dropout: Likewise.
    """

    def __init__(
        self, layers: int, hidden: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            QueryLayer(hidden, heads, feedforward, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)

    def forward(
        self,
        queries: Float[Tensor, "batch queries hidden"],
        embedding: Float[Tensor, "batch voxels hidden"],
        positions: Float[Tensor, "voxels hidden"],
    ) -> Float[Tensor, "batch queries hidden"]:
        """Queries that have seen the image, each on its own: their order does not matter."""
        # In the keys alone, as in DETR (Carion et al., ECCV 2020): values say what, and not where.
        keys = embedding + positions
        for layer in self.layers:
            queries = layer(queries, keys, embedding)
        seen: Tensor = self.norm(queries)
        return seen


class ImageEmbedding(nn.Module):
    """All scales of an encoder, averaged to one coarse grid, each voxel through two Linears.

    Args:
        widths: Channels of each scale.
        inner: Width between the two.
        hidden: Length of what comes out.
    """

    def __init__(self, widths: Sequence[int], inner: int, hidden: int) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.Linear(sum(widths), inner), nn.GELU(), nn.Linear(inner, hidden), nn.GELU()
        )

    def forward(
        self, maps: Sequence[Tensor], grid: Sequence[int]
    ) -> Float[Tensor, "batch voxels hidden"]:
        """One vector for each voxel of the grid, of which every map's sides are multiples."""
        pooled = torch.cat([_averaged(each, grid).flatten(2) for each in maps], dim=1)
        embedded: Tensor = self.project(pooled.transpose(1, 2))
        return embedded


def positions(grid: Sequence[int], hidden: int, like: Tensor) -> Float[Tensor, "voxels hidden"]:
    """Sines and cosines of each axis' place, a third of the channels for each axis.

    Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.5, in three dimensions.
    """
    # A third of the channels rounded up to whole waves, and cut to `hidden` at the end, as in the
    # published code: the last axis has fewer where 6 does not divide it, and none of 8 channels.
    width = 2 * -(-hidden // 6)
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=like.device) / width
    waves = []
    for axis, side in enumerate(grid):
        angles = torch.arange(side, device=like.device)[:, None] / 10000**steps
        shape = [side if other == axis else 1 for other in range(3)]
        wave = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        waves.append(wave.view(*shape, width).expand(*grid, width))
    return torch.cat(waves, dim=-1).flatten(0, 2)[:, :hidden].to(like.dtype)


def _averaged(maps: Tensor, grid: Sequence[int]) -> Tensor:
    """Not adaptive, for which ONNX has no word."""
    window: Three = tuple(a // b for a, b in zip(maps.shape[2:], grid, strict=True))  # type: ignore[assignment]
    return maps if window == (1, 1, 1) else F.avg_pool3d(maps, window)
