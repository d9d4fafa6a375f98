"""VPT-deep's prompts: tokens that join the image's in each block, each block its own."""

from jaxtyping import Float
from torch import Tensor, nn

from medistill.models.adapters._tokens import TokenEncoder, Tokens, unit
from medistill.models.adapters.base import Pooling, refuse_absent_block
from medistill.models.networks import Encoder
from medistill.types import Output


class DeepPrompts(TokenEncoder):
    """Encoder with prompts in its blocks; what a block makes of its prompts is thrown away.

    Args:
        encoder: The plain one.
        count: Prompts of a block.
        first_block: Blocks before it have none.
        pooling: What the head reads.
        cosine: Whether features have length 1.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        count: int = 5,
        first_block: int = 0,
        pooling: Pooling = "class_token",
        cosine: bool = False,
    ) -> None:
        settings = {
            "count": count, "first_block": first_block, "pooling": pooling, "cosine": cosine,
        }  # fmt: skip
        super().__init__(encoder, settings, pooling)
        depth = len(self.trunk.blocks)
        refuse_absent_block("first_block", first_block, depth)
        self.first_block, self.cosine = first_block, cosine
        self.prompts = nn.ModuleList(Tokens(count, self.trunk) for _ in range(depth - first_block))

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Output:
        """Features and maps, without logits."""
        images = self.prepared(images)
        # A block without prompts runs as its author wrote it; what is frozen below needs no graph.
        prompts = [None] * self.first_block + [own(len(images)) for own in self.prompts]
        states = self.walk(self.trunk.enter(images), prompts)
        output = self.read(self.kept(states), images)
        return unit(output) if self.cosine else output
