"""VQT's tokens: they ask each block about the image, and no block is changed by them."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.models.adapters._tokens import TokenEncoder, Tokens
from medistill.models.adapters.base import Pooling, refuse_absent_block
from medistill.models.networks import Encoder
from medistill.types import Output


class QueryTokens(TokenEncoder):
    """Encoder whose features are its own and, for each block, what query tokens found there.

    Its maps, and the class token among its features, are those of the plain encoder to the bit.

    Args:
        encoder: The plain one.
        count: Query tokens of a block.
        dropout: Share of their values left out in training.
        first_block: Blocks before it are not asked.
        pooling: What of the image's own tokens stands first in the features.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        count: int = 1,
        dropout: float = 0.1,
        first_block: int = 0,
        pooling: Pooling = "class_token",
    ) -> None:
        settings = {
            "count": count, "dropout": dropout, "first_block": first_block, "pooling": pooling,
        }  # fmt: skip
        super().__init__(encoder, settings, pooling)
        depth = len(self.trunk.blocks)
        refuse_absent_block("first_block", first_block, depth)
        self.first_block = first_block
        self.queries = nn.ModuleList(
            Tokens(count, self.trunk, dropout=dropout) for _ in range(depth - first_block)
        )
        # Each query of each block becomes a part of the features that the head reads.
        self.width += len(self.queries) * count * self.trunk.width

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Output:
        """Features and maps, without logits."""
        images = self.prepared(images)
        found: list[Tensor] = []
        output = self.read(self.kept(self._asked(self.trunk.enter(images), found)), images)
        return output._replace(features=torch.cat((output.features, *found), dim=1))

    def _asked(self, tokens: Tensor, found: list[Tensor]) -> Iterator[Tensor]:
        """Tokens after each block; what its queries found is added to a list."""
        for index, block in enumerate(self.trunk.blocks):
            if index >= self.first_block:
                queries = self.queries[index - self.first_block](len(tokens))
                answers = self.trunk.queried(block, tokens, queries)
                # All tokens of a block as one vector: blocks differ in scale.
                found.append(F.normalize(answers.flatten(1), dim=1))
            tokens = block(tokens)
            yield tokens
