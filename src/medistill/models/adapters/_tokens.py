"""Adapters that are tokens of their own, which walk through the blocks with those of the image."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.models.adapters._trunk import Trunk
from medistill.models.adapters.base import AdaptedEncoder, Pooling, trunk_of
from medistill.models.backbones.base import quarters
from medistill.models.networks import Encoder
from medistill.types import Output


class Tokens(nn.Module):
    """Learnt tokens, the same for every image, as VPT begins them.

    Args:
        count: How many.
        trunk: Whose width they have.
        dropout: Share of their values left out in training, of each image others.
    """

    def __init__(self, count: int, trunk: Trunk, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.values = learnt(trunk, count, trunk.width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: int) -> Tensor:
        tokens: Tensor = self.dropout(self.values.expand(batch, -1, -1))
        return tokens


class TokenEncoder(AdaptedEncoder):
    """Encoder that leads its images' tokens through the blocks itself, together with others.

    Its maps are those of the backbone, whatever tokens walked beside them.

    Args:
        encoder: The plain one.
        settings: Of the subclass.
        pooling: What of the image's tokens the head reads.
    """

    def __init__(self, encoder: Encoder, settings: Mapping[str, Any], pooling: Pooling) -> None:
        trunk = trunk_of(encoder)
        super().__init__(encoder, encoder.backbone, settings)
        self.trunk = trunk
        self.pooling = pooling

    def walk(
        self, tokens: Tensor, prompts: Sequence[Tensor | None], *, first: int = 0
    ) -> Iterator[Tensor]:
        """Tokens after each of some blocks.

        Args:
            tokens: Before the first of these blocks.
            prompts: What joins each block, and is thrown away after it; None for a block by itself.
            first: Of these blocks.
        """
        blocks = self.trunk.blocks[first : first + len(prompts)]
        for block, joining in zip(blocks, prompts, strict=True):
            if joining is None:
                tokens = block(tokens)
            else:
                tokens, _ = self.trunk.prompted(block, tokens, joining)
            yield tokens

    def kept(self, states: Iterable[Tensor]) -> list[Tensor]:
        """Of the tokens after each block those that become maps."""
        taps = quarters(len(self.trunk.blocks))
        return [tokens for block, tokens in enumerate(states) if block in taps]

    def read(self, states: Sequence[Tensor], images: Tensor) -> Output:
        """Features and maps of tokens after some blocks, the last of them after the last."""
        token, maps = self.trunk.leave(states, images.shape[2:])
        if token is None or self.pooling == "patches":
            token = maps[-1].flatten(2).mean(dim=2)
        return Output(None, token, maps)


def learnt(trunk: Trunk, *shape: int) -> nn.Parameter:
    """New values on the device of a trunk, as wide as VPT begins its prompts."""
    like = next(trunk.network.parameters())
    # Xavier's bound for the projection of a patch, whose place a prompt takes.
    bound = math.sqrt(6 / (3 * trunk.patch**2 + trunk.width))
    return nn.Parameter(torch.empty(*shape, device=like.device).uniform_(-bound, bound))


def unit(output: Output) -> Output:
    """The same with features of length 1, whose products with unit weights are cosines."""
    return output._replace(features=F.normalize(output.features, dim=1))
