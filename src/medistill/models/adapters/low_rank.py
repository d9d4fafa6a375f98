"""LoRA: an update of low rank beside the queries and values of attention."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.models.adapters.base import (
    AdaptedEncoder,
    apart,
    blocks_of,
    plain,
    refuse_absent_block,
    trunk_of,
)
from medistill.models.networks import Encoder


class LowRank(AdaptedEncoder):
    """Encoder whose blocks add α/r · B A to the projections of queries and values.

    B begins at zero, so that the encoder begins as it was.

    Args:
        encoder: The plain one.
        rank: r, the rows of A.
        alpha: α; a real number, so that α < r does not end as 0 (as in MeLo's released code).
        first_block: Blocks before it stay as they are.
    """

    def __init__(
        self, encoder: Encoder, *, rank: int = 4, alpha: float = 4.0, first_block: int = 0
    ) -> None:
        refuse_absent_block("first_block", first_block, len(trunk_of(encoder).blocks))
        backbone = apart(encoder.backbone)
        settings = {"rank": rank, "alpha": alpha, "first_block": first_block}
        super().__init__(encoder, backbone, settings)
        for block in blocks_of(backbone)[first_block:]:
            block.attn.qkv = _Updated(block.attn.qkv, rank, alpha / rank)

    @torch.no_grad()
    def merged(self) -> Encoder:
        """A plain encoder that computes the same, with the updates added to its weights."""
        backbone = apart(self.backbone)
        for block in blocks_of(backbone):
            if isinstance(block.attn.qkv, _Updated):
                block.attn.qkv = block.attn.qkv.merged()
        return plain(self, backbone)


class _Updated(nn.Module):
    """The projection of queries, keys and values with updates of the first and the last."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.scale = scale
        width, like = linear.out_features // 3, linear.weight
        # Keys get no update: LoRA, section 7.1, finds queries and values together the best choice.
        self.down = nn.Parameter(like.new_empty(2, rank, linear.in_features))  # A of both
        self.up = nn.Parameter(like.new_zeros(2, width, rank))  # B of both
        for each in self.down:
            nn.init.kaiming_uniform_(each, a=math.sqrt(5))

    def forward(self, tokens: Tensor) -> Tensor:
        packed: Tensor = self.linear(tokens)
        queries, values = (
            # Through r numbers for each token, never through the whole update.
            F.linear(F.linear(tokens, down), self.scale * up)
            for down, up in zip(self.down, self.up, strict=True)
        )
        return packed + torch.cat((queries, torch.zeros_like(queries), values), dim=-1)

    def merged(self) -> nn.Linear:
        """One layer that computes the same."""
        queries, values = self.scale * (self.up @ self.down)
        update = torch.cat((queries, torch.zeros_like(queries), values))
        merged = apart(self.linear)
        merged.weight = nn.Parameter(self.linear.weight + update)
        return merged
