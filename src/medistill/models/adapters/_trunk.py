"""Vision transformers as adapters meet them: a trunk of blocks that other tokens may join."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Left = tuple[Tensor | None, tuple[Tensor, ...]]
"""The normalised class token, where there is one, and one map for each of some states."""


class Trunk(ABC):
    """A transformer in three: images become tokens, pass the blocks, and leave as maps.

    It looks at a network without owning or changing it, and follows the steps of its author's
    `forward`: without tokens of ours, it yields what the network yields.

    Args:
        network: Of timm.
    """

    def __init__(self, network: Any) -> None:
        self.network = network

    @property
    def blocks(self) -> list[Any]:
        """In their order."""
        return list(self.network.blocks)

    @property
    def width(self) -> int:
        """Channels of the tokens."""
        return int(self.network.embed_dim)

    @property
    def patch(self) -> int:
        """Height of a patch, in pixels."""
        return int(self.network.patch_embed.patch_size[0])

    @abstractmethod
    def enter(self, images: Float[Tensor, "batch 3 height width"]) -> Tensor:
        """Tokens of normalised images, as the first block takes them."""

    @abstractmethod
    def prompted(
        self, block: Any, tokens: Tensor, prompts: Float[Tensor, "batch prompts width"]
    ) -> tuple[Tensor, Tensor]:
        """What a block makes of its tokens and of prompts, all of which attend to all."""

    @abstractmethod
    def queried(
        self, block: Any, tokens: Tensor, queries: Float[Tensor, "batch queries width"]
    ) -> Float[Tensor, "batch queries width"]:
        """What a block makes of queries that attend to its tokens, and to which none attends."""

    @abstractmethod
    def leave(self, states: Sequence[Tensor], size: Sequence[int]) -> Left:
        """Class token and maps from tokens after some blocks, the last of them after the last.

        Args:
            states: Tokens.
            size: Height and width of the images.
        """


class PlainTrunk(Trunk):
    """A ViT whose tokens are one sequence, a class token first where it has one."""

    def enter(self, images: Float[Tensor, "batch 3 height width"]) -> Tensor:
        """Patches and class token, each with its place."""
        net = self.network
        # `forward_features` up to its blocks; timm gives these steps no public name.
        tokens: Tensor = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(images))))
        return tokens

    def prompted(
        self, block: Any, tokens: Tensor, prompts: Float[Tensor, "batch prompts width"]
    ) -> tuple[Tensor, Tensor]:
        """The block itself, on a longer sequence; within a block the order does not matter."""
        count = prompts.shape[1]
        joined = block(torch.cat((prompts, tokens), dim=1))
        return joined[:, count:], joined[:, :count]

    def queried(
        self, block: Any, tokens: Tensor, queries: Float[Tensor, "batch queries width"]
    ) -> Float[Tensor, "batch queries width"]:
        """The block's own weights on the queries, its keys and values from the tokens alone."""
        # Keys and values of the queries are thrown away: nobody attends to them.
        query, _, _ = heads(block.attn, block.norm1(queries))
        key, value = keys_and_values(block.attn, block.norm1(tokens))
        return completed(block, queries, attended(block.attn, query, key, value))

    def leave(self, states: Sequence[Tensor], size: Sequence[int]) -> Left:
        """All states pass the final norm, as in the backbone."""
        net = self.network
        rows, columns = net.patch_embed.dynamic_feat_size(tuple(size))
        normed = [net.fc_norm(net.norm(tokens)) for tokens in states]
        patches = (tokens[:, net.num_prefix_tokens :].mT for tokens in normed)
        maps = tuple(each.reshape(*each.shape[:2], rows, columns) for each in patches)
        return (None if net.cls_token is None else normed[-1][:, 0]), maps


def heads(attention: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each (batch, heads, tokens, width of a head)."""
    query, key, value = _split(attention, attention.qkv(tokens), 3)
    return attention.q_norm(query), attention.k_norm(key), value


def keys_and_values(attention: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The last two of them alone: the first third of the projection is not computed."""
    qkv, width = attention.qkv, attention.qkv.out_features // 3
    bias = None if qkv.bias is None else qkv.bias[width:]
    key, value = _split(attention, F.linear(tokens, qkv.weight[width:], bias), 2)
    return attention.k_norm(key), value


def _split(attention: Any, packed: Tensor, parts: int) -> tuple[Tensor, ...]:
    split = packed.reshape(*packed.shape[:2], parts, attention.num_heads, -1)
    return split.permute(2, 0, 3, 1, 4).unbind(0)


def attended(
    attention: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
) -> Tensor:
    """What a layer of attention gives for its queries, its projection included."""
    if attention.fused_attn:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    else:  # as timm does where it is told so: the export needs it
        scores = query * attention.scale @ key.mT
        mixed = (scores if bias is None else scores + bias).softmax(dim=-1) @ value
    projected: Tensor = attention.proj(mixed.transpose(1, 2).flatten(2))
    return projected


def completed(block: Any, tokens: Tensor, attended: Tensor) -> Tensor:
    """Tokens after the rest of a block; its stochastic depth rests, as in evaluation."""
    tokens = tokens + block.ls1(attended)
    completed: Tensor = tokens + block.ls2(block.mlp(block.norm2(tokens)))
    return completed
