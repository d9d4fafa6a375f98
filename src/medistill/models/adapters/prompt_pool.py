"""LPT's prompts: some that all images share, and groups of which each image chooses its own."""

from collections.abc import Sequence
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from medistill.models.adapters._tokens import learnt, unit
from medistill.models.adapters.base import Pooling, plain, refuse_absent_block
from medistill.models.adapters.deep_prompts import DeepPrompts
from medistill.models.networks import Encoder
from medistill.types import Output


class PromptPool(DeepPrompts):
    """Encoder with shared prompts in all blocks, and in the later ones a mean of chosen groups.

    An image is looked at with the shared prompts first; its features then choose the groups whose
    keys are nearest. The blocks before the groups do the same in both passes, and run once.

    Args:
        encoder: The plain one.
        count: Shared prompts of a block, and prompts of a group in a block.
        groups: How many there are.
        chosen: How many an image chooses.
        groups_from: The first block with groups; the middle one by default.
        pooling: What the head reads, and what chooses.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        count: int = 10,
        groups: int = 20,
        chosen: int = 2,
        groups_from: int | None = None,
        pooling: Pooling = "class_token",
    ) -> None:
        super().__init__(encoder, count=count, pooling=pooling, cosine=True)
        depth = len(self.trunk.blocks)
        first = depth // 2 if groups_from is None else groups_from
        refuse_absent_block("groups.first_block", first, depth)
        self.settings = {
            "count": count, "groups": groups, "chosen": chosen, "groups_from": first,
            "pooling": pooling,
        }  # fmt: skip
        self.groups_from, self.chosen = first, chosen
        self.groups = learnt(self.trunk, groups, depth - first, count, self.trunk.width)
        self.keys = learnt(self.trunk, groups, self.width)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Output:
        """Features and maps, without logits."""
        return self.looked_up(images)[0]

    def with_shared_alone(self, images: Float[Tensor, "batch 3 height width"]) -> Output:
        """The same without groups: what is trained first."""
        return super().forward(images)

    def without_groups(self) -> DeepPrompts:
        """The encoder of the shared prompts alone."""
        bare, count = plain(self, self.backbone), self.settings["count"]
        encoder = DeepPrompts(bare, count=count, pooling=self.pooling, cosine=True)
        encoder.prompts = self.prompts
        return encoder

    def looked_up(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Output, Float[Tensor, " batch"]]:
        """Features and maps, and the mean cosine of each image to the keys that it chose.

        Shared prompts learn nothing here: groups are added to what they have settled on.
        """
        images = self.prepared(images)
        shared = [prompts(len(images)).detach() for prompts in self.prompts]
        early, late = shared[: self.groups_from], shared[self.groups_from :]
        start = self.trunk.enter(images)
        states = list(self.walk(start, early))
        tokens = states[-1] if states else start
        groups, nearness = self._choice(self._query(tokens, late, images))
        joined = [torch.cat((own, groups[:, i]), dim=1) for i, own in enumerate(late)]
        last = self.walk(tokens, joined, first=self.groups_from)
        return unit(self.read(self.kept(chain(states, last)), images)), nearness

    @torch.no_grad()
    def _query(self, tokens: Tensor, shared: Sequence[Tensor], images: Tensor) -> Tensor:
        """Features with the shared prompts alone, from the first block that could have groups."""
        for state in self.walk(tokens, shared, first=self.groups_from):
            tokens = state
        return self.read([tokens], images).features

    def _choice(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """For each image the mean of its nearest groups, and how near their keys are."""
        # Cosines, so that a long key is not nearer to every image.
        cosines = F.normalize(query, dim=1) @ F.normalize(self.keys, dim=1).T
        nearest, which = cosines.topk(self.chosen, dim=1)
        return self.groups[which].mean(1), nearest.mean(1)
