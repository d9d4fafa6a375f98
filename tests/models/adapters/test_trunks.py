"""Adapters walk through a transformer as its author does, and other tokens join as VPT says."""

from collections.abc import Callable

import pytest
import torch
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.models.adapters.base import trunk_of, with_adapters
from medistill.models.backbones.base import build_backbone, quarters
from medistill.models.networks import Encoder, Student
from tests.tiny import SIZE, tiny_student, tiny_vit, tiny_windowed_vit

BOTH = [tiny_vit, tiny_windowed_vit]
IMAGES = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
Make = Callable[..., Student]


def walked(encoder: Encoder) -> list[Tensor]:
    """Tokens before the first block and after each."""
    trunk = trunk_of(encoder)
    states = [trunk.enter(encoder.prepared(IMAGES))]
    for block in trunk.blocks:
        states.append(block(states[-1]))
    return states


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("depth", [3, 4])
def test_a_walk_ends_in_the_maps_of_the_backbone(make: Make, depth: int) -> None:
    encoder = make(depth=depth).eval().encoder
    states = walked(encoder)
    tapped = [states[1 + block] for block in quarters(depth)]
    _, maps = trunk_of(encoder).leave(tapped, IMAGES.shape[2:])
    for found, wanted in zip(maps, encoder(IMAGES).maps, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    "options",
    [{"class_token": False, "global_pool": "avg"}, {"init_values": 0.1, "reg_tokens": 2},
     {"no_embed_class": True, "pre_norm": True}],
)  # fmt: skip
def test_relatives_of_the_plain_transformer_are_walked_through_alike(options: dict) -> None:  # type: ignore[type-arg]
    encoder = tiny_vit(**options).eval().encoder
    states = walked(encoder)[1:]
    token, maps = trunk_of(encoder).leave(states, IMAGES.shape[2:])
    assert torch.equal(maps[-1], encoder(IMAGES).maps[-1])
    assert (token is None) == ("class_token" in options)


def test_the_class_token_is_the_one_that_the_library_would_read() -> None:
    encoder = tiny_vit().eval().encoder
    token, _ = trunk_of(encoder).leave(walked(encoder)[-1:], IMAGES.shape[2:])
    wanted = encoder.backbone.network.forward_features(encoder.prepared(IMAGES))[:, 0]
    assert_close(token, wanted)


@pytest.mark.parametrize("make", BOTH)
def test_no_prompts_leave_every_block_as_it_is(make: Make) -> None:
    encoder = make().eval().encoder
    states, trunk = walked(encoder), trunk_of(encoder)
    for block, before, after in zip(trunk.blocks, states, states[1:], strict=False):
        tokens, prompts = trunk.prompted(block, before, torch.zeros(3, 0, trunk.width))
        assert_close(tokens, after)
        assert prompts.shape == (3, 0, trunk.width)


def as_plain(block: torch.nn.Module) -> Block:
    """The library's plain block with the weights of a windowed one."""
    plain = Block(12, 2, qkv_bias=True, norm_layer=torch.nn.LayerNorm).eval()
    plain.load_state_dict({n: t for n, t in block.state_dict().items() if "rel_pos" not in n})
    return plain


def test_each_window_attends_to_itself_and_to_the_prompts() -> None:
    encoder = tiny_windowed_vit(use_rel_pos=False).eval().encoder
    trunk, block = trunk_of(encoder), encoder.backbone.network.blocks[0]
    tokens, prompts = torch.randn(2, 4, 4, 12), torch.randn(2, 3, 12)
    found, _ = trunk.prompted(block, tokens, prompts)
    for rows in (slice(0, 2), slice(2, 4)):
        for columns in (slice(0, 2), slice(2, 4)):
            window = tokens[:, rows, columns].flatten(1, 2)
            wanted = as_plain(block)(torch.cat((prompts, window), dim=1))[:, 3:]
            # The windows are one batch here, and summed in another order.
            assert_close(found[:, rows, columns].flatten(1, 2), wanted, rtol=1e-4, atol=1e-4)


def test_prompts_of_a_global_block_are_those_of_a_plain_one() -> None:
    encoder = tiny_windowed_vit(use_rel_pos=False).eval().encoder
    trunk, block = trunk_of(encoder), encoder.backbone.network.blocks[2]
    tokens, prompts = torch.randn(2, 3, 3, 12), torch.randn(2, 2, 12)
    wanted = as_plain(block)(torch.cat((prompts, tokens.flatten(1, 2)), dim=1))
    assert_close(trunk.prompted(block, tokens, prompts)[1], wanted[:, :2])


@pytest.mark.parametrize("make", BOTH)
def test_a_query_finds_what_a_token_of_the_image_would_find(make: Make) -> None:
    # In a global block, and without tables of relative positions, a patch is its own query.
    options = {"use_rel_pos": False} if make is tiny_windowed_vit else {}
    encoder = make(**options).eval().encoder
    trunk, before, after = trunk_of(encoder), walked(encoder)[2], walked(encoder)[3]
    patches = before.flatten(1, -2)
    found = trunk.queried(trunk.blocks[2], before, patches[:, 1:3])
    assert_close(found, after.flatten(1, -2)[:, 1:3])


def test_queries_of_a_windowed_block_are_averaged_over_its_windows() -> None:
    encoder = tiny_windowed_vit(use_rel_pos=False).eval().encoder
    trunk, block = trunk_of(encoder), encoder.backbone.network.blocks[0]
    corner, query = torch.randn(1, 2, 2, 12), torch.randn(1, 1, 12)
    alike = corner.repeat(1, 2, 2, 1)
    assert_close(trunk.queried(block, alike, query), trunk.queried(block, corner, query))


@pytest.mark.parametrize("make", BOTH)
def test_attention_in_single_steps_computes_the_same(make: Make) -> None:
    encoder = make().eval().encoder
    trunk, tokens, queries = trunk_of(encoder), walked(encoder)[0], torch.randn(3, 2, 12)
    found = []
    for fused in (True, False):
        trunk.blocks[0].attn.fused_attn = fused
        joined = trunk.prompted(trunk.blocks[0], tokens, queries)
        found.append((*joined, trunk.queried(trunk.blocks[0], tokens, queries)))
    assert_close(found[0], found[1])


def test_what_is_no_such_transformer_is_refused_in_one_line() -> None:
    for student in (tiny_student(), Student(Encoder(build_backbone("timm/test_efficientnet")), 2)):
        with pytest.raises(UserError, match=r"do not fit into t\w+/\w+: they need a plain or a"):
            trunk_of(student.encoder)


def test_adapters_in_adapters_are_refused() -> None:
    adapted = with_adapters(tiny_vit().encoder, "shallow_prompts", {})
    with pytest.raises(UserError, match=r"has adapters already \(shallow_prompts\)\. Name the run"):
        with_adapters(adapted, "deep_prompts", {})
