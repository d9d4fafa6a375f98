"""AdaptFormer's adapters: a bottleneck beside the MLP of each block."""

import math

from torch import Tensor, nn

from medistill.models.adapters.base import (
    AdaptedEncoder,
    apart,
    blocks_of,
    refuse_absent_block,
    trunk_of,
)
from medistill.models.networks import Encoder


class Bottlenecks(AdaptedEncoder):
    """Encoder whose blocks add s · W_up ReLU(W_down x) to their MLP, x not normalised.

    W_up begins at zero, so that the encoder begins as it was.

    Args:
        encoder: The plain one.
        width: Rows of W_down.
        scale: s.
        dropout: Share of the bottleneck left out in training.
        first_block: Blocks before it stay as they are.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        width: int = 64,
        scale: float = 0.1,
        dropout: float = 0.1,
        first_block: int = 0,
    ) -> None:
        trunk = trunk_of(encoder)
        refuse_absent_block("first_block", first_block, len(trunk.blocks))
        backbone = apart(encoder.backbone)
        settings = {
            "width": width, "scale": scale, "dropout": dropout, "first_block": first_block,
        }  # fmt: skip
        super().__init__(encoder, backbone, settings)
        for block in blocks_of(backbone)[first_block:]:
            bottleneck = _bottleneck(block.mlp, trunk.width, width, dropout)
            block.norm2 = _Fork(block.norm2)
            block.mlp = _Beside(nn.Sequential(block.mlp, block.ls2), bottleneck, scale)
            # Inside by now: it scales the MLP alone.
            block.ls2 = nn.Identity()


class _Fork(nn.Module):
    """Hands the tokens on twice, normalised for the MLP and as they are for the bottleneck."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.norm(tokens), tokens


class _Beside(nn.Module):
    """The MLP and the bottleneck, added."""

    def __init__(self, mlp: nn.Module, bottleneck: nn.Module, scale: float) -> None:
        super().__init__()
        self.mlp = mlp
        self.bottleneck = bottleneck
        self.scale = scale

    def forward(self, forked: tuple[Tensor, Tensor]) -> Tensor:
        normed, tokens = forked
        added: Tensor = self.mlp(normed) + self.scale * self.bottleneck(tokens)
        return added


def _bottleneck(mlp: nn.Module, width: int, inner: int, dropout: float) -> nn.Sequential:
    device = next(mlp.parameters()).device
    down, up = nn.Linear(width, inner, device=device), nn.Linear(inner, width, device=device)
    # As in the released code; sqrt(5) gives the bounds that a Linear of torch begins with.
    nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
    for parameter in (down.bias, up.weight, up.bias):
        nn.init.zeros_(parameter)
    return nn.Sequential(down, nn.ReLU(), nn.Dropout(dropout), up)
