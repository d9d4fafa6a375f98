"""Windowed vision transformers without a class token, as Segment Anything's image encoder."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from timm.layers.pos_embed import resample_abs_pos_embed_nhwc
from timm.models.vision_transformer_sam import (
    get_decomposed_rel_pos_bias,
    window_partition,
    window_unpartition,
)
from torch import Tensor
from torch.nn import functional as F

from medistill.models.adapters._trunk import (
    Left,
    Trunk,
    attended,
    completed,
    heads,
    keys_and_values,
)


class WindowedTrunk(Trunk):
    """A ViT whose tokens are a grid, most of whose blocks look at windows of it.

    Nobody published prompts for it. They are treated as VPT treats them in Swin: each window has
    a copy, which stands nowhere and so has no relative position, and after the attention the
    copies are averaged. Queries that nobody attends to are treated likewise.
    """

    def enter(self, images: Float[Tensor, "batch 3 height width"]) -> Tensor:
        """Patches on their grid: (batch, rows, columns, width)."""
        net = self.network
        tokens: Tensor = net.patch_embed(images)
        if net.pos_embed is not None:
            tokens = tokens + resample_abs_pos_embed_nhwc(net.pos_embed, tokens.shape[1:3])
        entered: Tensor = net.norm_pre(net.patch_drop(net.pos_drop(tokens)))
        return entered

    def prompted(
        self, block: Any, tokens: Tensor, prompts: Float[Tensor, "batch prompts width"]
    ) -> tuple[Tensor, Tensor]:
        """Each window attends within itself and to the prompts."""
        windows, padded = _windows(block, tokens)
        (_, *edges, _), count = windows.shape, prompts.shape[1]
        copies = _copies(block.norm1(prompts), len(windows))
        # Prompts stand first, as in VPT for Swin, so that windows follow at a fixed place.
        query, key, value = heads(block.attn, torch.cat((copies, windows.flatten(1, 2)), dim=1))
        bias = _bias(block.attn, query[:, :, count:], *edges)
        if bias is not None:
            # A prompt stands nowhere: no bias from it or towards it.
            bias = F.pad(bias, (count, 0, count, 0))
        mixed = attended(block.attn, query, key, value, bias)
        grid = mixed[:, count:].reshape(windows.shape)
        if block.window_size:
            rows, columns = tokens.shape[1:3]
            grid = window_unpartition(grid, block.window_size, (rows, columns), padded)
        # Windows at the border count alike, although zeros fill them up.
        averaged = _averaged(mixed[:, :count], len(tokens))
        return completed(block, tokens, grid), completed(block, prompts, averaged)

    def queried(
        self, block: Any, tokens: Tensor, queries: Float[Tensor, "batch queries width"]
    ) -> Float[Tensor, "batch queries width"]:
        """The mean of what the queries find in each window."""
        windows, _ = _windows(block, tokens)
        query, _, _ = heads(block.attn, _copies(block.norm1(queries), len(windows)))
        key, value = keys_and_values(block.attn, windows.flatten(1, 2))
        mixed = attended(block.attn, query, key, value)
        return completed(block, queries, _averaged(mixed, len(tokens)))

    def leave(self, states: Sequence[Tensor], size: Sequence[int]) -> Left:
        """The last state passes the neck, as in the backbone."""
        *others, last = (tokens.movedim(-1, 1) for tokens in states)
        return None, (*others, self.network.neck(last))


def _windows(block: Any, tokens: Tensor) -> tuple[Tensor, Any]:
    """Normalised tokens by windows (windows, rows, columns, width); one for a global block."""
    normed = block.norm1(tokens)
    if not block.window_size:
        return normed, None
    windows, padded = window_partition(normed, block.window_size)
    return windows, padded


def _copies(tokens: Tensor, windows: int) -> Tensor:
    """The tokens of each image for each of its windows, which follow one another."""
    each = windows // len(tokens)
    return tokens.unsqueeze(1).expand(-1, each, -1, -1).flatten(0, 1)


def _averaged(copies: Tensor, batch: int) -> Tensor:
    return copies.reshape(batch, len(copies) // batch, *copies.shape[1:]).mean(1)


def _bias(attention: Any, query: Tensor, rows: int, columns: int) -> Tensor | None:
    """The bias of relative positions: (windows, heads, patches, patches)."""
    if not attention.use_rel_pos:
        return None
    edges = (rows, columns)
    bias = get_decomposed_rel_pos_bias(
        query.flatten(0, 1), attention.rel_pos_h, attention.rel_pos_w, edges, edges
    )
    return bias.reshape(*query.shape[:2], *bias.shape[1:])
