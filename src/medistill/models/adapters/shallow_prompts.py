"""VPT-shallow's prompts: tokens that join the image's before the first block."""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from medistill.models.adapters._tokens import TokenEncoder, Tokens
from medistill.models.adapters.base import Pooling
from medistill.models.networks import Encoder
from medistill.types import Output


class ShallowPrompts(TokenEncoder):
    """Encoder with prompts that walk through all blocks; what becomes of them is thrown away.

    Args:
        encoder: The plain one.
        count: Prompts.
        pooling: What the head reads.
    """

    def __init__(
        self, encoder: Encoder, *, count: int = 5, pooling: Pooling = "class_token"
    ) -> None:
        super().__init__(encoder, {"count": count, "pooling": pooling}, pooling)
        self.prompts = Tokens(count, self.trunk)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Output:
        """Features and maps, without logits."""
        images = self.prepared(images)
        return self.read(self.kept(self._together(self.trunk.enter(images))), images)

    def _together(self, tokens: Tensor) -> Iterator[Tensor]:
        prompts = self.prompts(len(tokens))
        for block in self.trunk.blocks:
            # Together through all blocks: only deep prompts are replaced in each.
            tokens, prompts = self.trunk.prompted(block, tokens, prompts)
            yield tokens
