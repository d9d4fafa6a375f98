"""What queries see of an image: all of it, wherever it stands, and nothing of one another."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.models.segmenters._query_decoder import (
    ImageEmbedding,
    QueryDecoder,
    QueryLayer,
    positions,
)

LIKE = torch.zeros(())


@pytest.fixture
def decoder() -> QueryDecoder:
    made = QueryDecoder(2, hidden=12, heads=2, feedforward=8, dropout=0.5).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def test_voxels_in_another_order_with_their_places_are_the_same_image(
    decoder: QueryDecoder,
) -> None:
    queries, voxels, places = torch.randn(2, 3, 12), torch.randn(2, 8, 12), torch.randn(8, 12)
    order = torch.randperm(8)
    found = decoder(queries, voxels[:, order], places[order])
    assert_close(found, decoder(queries, voxels, places))
    # Without them it is another image.
    assert not torch.allclose(decoder(queries, voxels[:, order], places), found, atol=1e-3)


def test_each_query_sees_as_if_it_were_alone(decoder: QueryDecoder) -> None:
    queries, voxels, places = torch.randn(2, 3, 12), torch.randn(2, 8, 12), torch.randn(8, 12)
    together = decoder(queries, voxels, places)
    for place in range(3):
        alone = decoder(queries[:, place : place + 1], voxels, places)
        assert_close(together[:, place : place + 1], alone)


def test_places_decide_what_is_looked_at_and_not_what_is_seen() -> None:
    # An image that is the same everywhere looks alike from any place.
    layer = QueryLayer(12, heads=2, feedforward=8, dropout=0.0).eval()
    queries, voxels = torch.randn(1, 2, 12), torch.randn(1, 1, 12).expand(1, 6, 12)
    seen = [layer(queries, voxels + torch.randn(6, 12), voxels) for _ in range(2)]
    assert_close(*seen)


def test_an_image_that_is_the_same_everywhere_looks_so_from_any_grid(decoder: QueryDecoder) -> None:
    queries, voxels = torch.randn(1, 2, 12), torch.randn(1, 1, 12).expand(1, 6, 12)
    seen = [decoder(queries, voxels, torch.randn(6, 12)) for _ in range(2)]
    assert_close(*seen)


def test_a_layer_adds_to_its_queries_what_attention_and_two_linears_say() -> None:
    layer = QueryLayer(8, heads=1, feedforward=5, dropout=0.0).eval()
    queries, keys, values = torch.randn(1, 2, 8), torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    weights, biases = layer.attention.in_proj_weight.chunk(3), layer.attention.in_proj_bias.chunk(3)
    query, key, value = (
        F.linear(each, weight, bias)
        for each, weight, bias in zip(
            (layer.norm2(queries), keys, values), weights, biases, strict=True
        )
    )
    looked = (query @ key.mT / 8**0.5).softmax(-1) @ value
    middle = queries + layer.attention.out_proj(looked)
    expected = middle + layer.linear2(layer.linear1(layer.norm3(middle)).relu())
    assert_close(layer(queries, keys, values), expected)


def test_the_norm_that_nothing_uses_is_stored_and_gets_no_gradient() -> None:
    layer = QueryLayer(8, heads=1, feedforward=5, dropout=0.0)
    layer(torch.randn(1, 2, 8), torch.randn(1, 4, 8), torch.randn(1, 4, 8)).sum().backward()
    idle = {name for name, parameter in layer.named_parameters() if parameter.grad is None}
    assert idle == {"norm1.weight", "norm1.bias"} <= layer.state_dict().keys()


@pytest.mark.parametrize("hidden", [6, 12, 16, 20])
def test_no_two_places_of_a_grid_are_alike(hidden: int) -> None:
    found = positions((3, 4, 2), hidden, LIKE)
    assert found.shape == (24, hidden)
    assert torch.cdist(found, found).add(torch.eye(24)).min() > 0.1
    assert found.abs().max() <= 1


@settings(max_examples=15)
@given(st.tuples(*[st.integers(1, 4)] * 3))
def test_each_third_of_the_channels_belongs_to_one_axis(grid: tuple[int, int, int]) -> None:
    found = positions(grid, 12, LIKE).view(*grid, 3, 4)
    for axis in range(3):
        own = found[..., axis, :].movedim(axis, 0).flatten(1, 2)
        assert torch.equal(own, own[:, :1].expand_as(own))  # whatever the other two say
        assert_close(own[:, 0, 0], torch.arange(grid[axis]).sin())
        assert_close(own[:, 0, 1], torch.arange(grid[axis]).cos())


def test_places_are_of_the_type_of_what_they_are_added_to() -> None:
    found = positions((2, 2, 2), 12, torch.zeros(1, dtype=torch.bfloat16))
    assert found.dtype == torch.bfloat16


def test_every_scale_is_averaged_to_the_grid_before_it_is_embedded() -> None:
    embedding = ImageEmbedding([2, 3], inner=5, hidden=4)
    maps = [torch.randn(2, 2, 4, 6, 2), torch.randn(2, 3, 2, 2, 2)]
    grid = (2, 2, 1)
    pooled = [F.adaptive_avg_pool3d(each, grid).flatten(2) for each in maps]
    expected = embedding.project(torch.cat(pooled, dim=1).mT)
    assert_close(embedding(maps, grid), expected)
    assert expected.shape == (2, 4, 4)


def test_a_map_of_the_grid_itself_is_not_averaged() -> None:
    embedding, map_ = ImageEmbedding([2], inner=5, hidden=4), torch.randn(1, 2, 3, 2, 1)
    expected = embedding.project(map_.flatten(2).mT)
    assert torch.equal(embedding([map_], (3, 2, 1)), expected)
