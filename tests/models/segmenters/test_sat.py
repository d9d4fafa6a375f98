"""SAT's architecture: its published counts, a second reading of its formulas, and its laws."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from medistill.errors import UserError
from medistill.models.lowrank.experts import expert, with_experts
from medistill.models.segmenters.base import Answering, Segmenter, build_segmenter
from tests.models.segmenters.small import CLASSES, asked, logits, moved, sat


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def hollow(name: str) -> Segmenter:
    """On the meta device, where half a billion parameters weigh nothing."""
    with torch.device("meta"):
        return build_segmenter(name, {}, CLASSES)


@pytest.mark.parametrize(
    ("name", "total", "unet", "embedding", "masks"),
    [
        ("nano", 109_194_624, 73_919_040, 1_967_616, 213_312),
        ("pro", 475_561_344, 435_435_136, 6_686_976, 344_576),
        ("lorkd_nano", 57_235_872, 22_582_912, 1_353_216, 205_088),
        ("lorkd_pro", 109_194_624, 73_919_040, 1_967_616, 213_312),
    ],
)
def test_published_networks_have_their_published_counts(
    name: str, total: int, unet: int, embedding: int, masks: int
) -> None:
    network: Any = hollow(f"sat/{name}")
    assert parameters(network) == total
    assert parameters(network.unet) == unet
    assert parameters(network.embedding) == embedding
    assert parameters(network.query_decoder) == 33_094_656
    assert parameters(network.mask_embedding) == masks
    assert network.stride == (32, 32, 32)


@pytest.mark.parametrize(
    ("name", "billions"), [("nano", 4601.6), ("pro", 27_035.2), ("lorkd_nano", 1819.3)]
)
def test_a_patch_costs_what_the_published_networks_cost(name: str, billions: float) -> None:
    network: Any = hollow(f"sat/{name}")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.unet(torch.empty(1, 3, 288, 288, 96, device="meta"))
    multiplications = counter.get_total_flops() / 2e9
    assert multiplications == pytest.approx(billions, abs=0.05)  # printed to one digit


NANO = {4: 62_122_944, 8: 67_010_016, 16: 76_784_160}
PRO = {4: 119_150_496, 8: 129_106_368, 16: 149_018_112}


@pytest.mark.parametrize(
    ("name", "ranks", "total"),
    [
        *(("lorkd_nano", [rank] * 8, total) for rank, total in NANO.items()),
        *(("lorkd_pro", [rank] * 8, total) for rank, total in PRO.items()),
        ("lorkd_nano", [12, 10, 10, 4, 8, 8, 12, 2], 67_315_458),
        ("lorkd_pro", [4, 4, 4, 4, 4, 16, 12, 12], 127_861_884),
    ],
)
def test_experts_add_their_published_counts(name: str, ranks: list[int], total: int) -> None:
    network = hollow(f"sat/{name}")
    assert parameters(with_experts(network, ranks, multiples=network.multiples)) == total


def test_a_second_reading_of_the_formulas_agrees() -> None:
    network = moved(sat(inputs=3, pool=2))
    images = torch.randn(2, 1, 16, 8, 8)
    queries = asked([2, 0], [1, 1])
    expected = second_reading(network, images, queries)
    torch.testing.assert_close(logits(network, images, queries), expected)


@torch.no_grad()
def second_reading(network: Any, images: Tensor, queries: Tensor) -> Tensor:
    """Stage by stage, voxel by voxel, head by head, out of the names in the state."""
    state = network.state_dict()

    def linear(name: str, values: Tensor) -> Tensor:
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def layer(name: str, values: Tensor, stride: int) -> Tensor:
        weight, bias = state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]
        values = F.conv3d(values, weight, bias, stride=stride, padding=1)
        axes = (2, 3, 4)
        spread = (values.var(axes, unbiased=False, keepdim=True) + 1e-5).sqrt()
        values = (values - values.mean(axes, keepdim=True)) / spread
        scale, shift = (state[f"{name}.norm.{kind}"] for kind in ("weight", "bias"))
        values = values * scale.view(-1, 1, 1, 1) + shift.view(-1, 1, 1, 1)
        return torch.where(values > 0, values, 0.01 * values)

    maps, values = [], images.repeat(1, 3, 1, 1, 1)
    for stage in range(3):
        values = layer(f"unet.encoder.{stage}.0", values, 1 if stage == 0 else 2)
        values = layer(f"unet.encoder.{stage}.1", values, 1)
        maps.append(values)
    for stage, skip in enumerate([maps[1], maps[0]]):
        up = f"unet.ups.{stage}"
        values = F.conv_transpose3d(values, state[f"{up}.weight"], state[f"{up}.bias"], stride=2)
        values = torch.cat([values, skip], dim=1)
        for place in range(2):
            values = layer(f"unet.decoder.{stage}.{place}", values, 1)

    grid = [side // 8 for side in images.shape[2:]]
    pooled = torch.cat([F.adaptive_avg_pool3d(each, grid) for each in maps], dim=1)
    embedded = pooled.permute(0, 2, 3, 4, 1).reshape(len(images), -1, 18)
    for place in (0, 2):
        embedded = F.gelu(linear(f"embedding.project.{place}", embedded))
    keys = embedded + waves(grid, 12)

    seen = state["queries.vectors"][queries]
    for place in range(2):
        name = f"query_decoder.layers.{place}"
        norms = [(12,), state[f"{name}.norm2.weight"], state[f"{name}.norm2.bias"]]
        weights = state[f"{name}.attention.in_proj_weight"].chunk(3)
        biases = state[f"{name}.attention.in_proj_bias"].chunk(3)
        given = (F.layer_norm(seen, *norms), keys, embedded)
        q, k, v = (g @ w.T + b for g, w, b in zip(given, weights, biases, strict=True))
        heads = []
        for head in (slice(0, 6), slice(6, 12)):
            scores = q[..., head] @ k[..., head].transpose(1, 2) / math.sqrt(6)
            heads.append(scores.softmax(-1) @ v[..., head])
        seen = seen + linear(f"{name}.attention.out_proj", torch.cat(heads, -1))
        norms = [(12,), state[f"{name}.norm3.weight"], state[f"{name}.norm3.bias"]]
        hidden = linear(f"{name}.linear1", F.layer_norm(seen, *norms)).clamp(min=0)
        seen = seen + linear(f"{name}.linear2", hidden)
    seen = F.layer_norm(
        seen, (12,), state["query_decoder.norm.weight"], state["query_decoder.norm.bias"]
    )
    for place in (0, 2):
        seen = F.gelu(linear(f"mask_embedding.{place}", seen))
    return torch.einsum("bchwd,bnc->bnhwd", values, seen)


def waves(grid: list[int], hidden: int) -> Tensor:
    """Of each voxel, in the order x, y, z: sines and cosines in turn, a third of them an axis."""
    rows, width = [], hidden // 3
    for voxel in range(math.prod(grid)):
        rest, z = divmod(voxel, grid[2])
        x, y = divmod(rest, grid[1])
        row = []
        for place in (x, y, z):
            for pair in range(width // 2):
                angle = place / 10000 ** (2 * pair / width)
                row += [math.sin(angle), math.cos(angle)]
        rows.append(row)
    return torch.tensor(rows)


def test_the_order_of_queries_is_the_order_of_masks() -> None:
    network, images = moved(sat()), torch.randn(1, 1, 8, 8, 8)
    forth, back = asked([0, 1, 2]), asked([2, 0, 1])
    torch.testing.assert_close(
        logits(network, images, forth)[:, [2, 0, 1]], logits(network, images, back)
    )


def test_a_mask_does_not_depend_on_what_else_is_asked() -> None:
    network, images = moved(sat()), torch.randn(1, 1, 8, 8, 8)
    alone = logits(network, images, asked([1]))
    torch.testing.assert_close(logits(network, images, asked([0, 1]))[:, 1:], alone)


def test_samples_of_a_batch_do_not_meet() -> None:
    network, images = moved(sat()), torch.randn(2, 1, 8, 8, 8)
    both = logits(network, images, asked([0], [1]))
    torch.testing.assert_close(both[1:], logits(network, images[1:], asked([1])))


def test_voxels_of_any_sides_and_strides_are_met() -> None:
    network = sat(strides=[1, [2, 2, 1], 2], kernels=[[3, 3, 1], 3, 3])
    assert network.stride == (4, 4, 2)
    output = network(torch.randn(1, 1, 12, 8, 6), asked([0]))
    assert output.logits.shape == (1, 1, 12, 8, 6)
    assert tuple(each.shape[1:] for each in output.maps) == network.shapes((12, 8, 6))
    assert network.shapes((12, 8, 6)) == ((4, 12, 8, 6), (6, 6, 4, 6), (8, 3, 2, 3))
    torch.testing.assert_close(output.features, output.maps[-1].mean((2, 3, 4)))


def test_what_is_trained_gets_a_gradient() -> None:
    network = sat(learned_queries=True)
    network(torch.randn(1, 1, 8, 8, 8), asked([0, 1])).logits.square().mean().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None}
    # The published layers hold a norm that nothing uses.
    assert without == {f"query_decoder.layers.{n}.norm1.{k}" for n in (0, 1) for k in
                       ("weight", "bias")}  # fmt: skip
    assert not any(p.requires_grad for n, p in network.named_parameters() if n in without)
    vectors = network.get_parameter("queries.vectors").grad
    assert vectors is not None
    assert (vectors.abs().sum(1) > 0).tolist() == [True, True, False]


def test_an_expert_of_its_convolutions_is_folded_out_of_it() -> None:
    network = moved(sat())
    decomposed = with_experts(network, [1, 2], multiples=network.multiples)
    for one in decomposed.experts:
        nn.init.normal_(one.numbers, std=0.1)
    images, queries = torch.randn(2, 1, 8, 8, 8), asked([0, 1], [2, 0])
    with decomposed.routing.to(torch.tensor([1, 0])):
        routed = decomposed(images, queries).logits
    folded: Any = expert(decomposed, 0)
    torch.testing.assert_close(routed[1:], logits(folded, images[1:], queries[1:]))
    assert not torch.allclose(routed[:1], logits(folded, images[:1], queries[:1]), atol=1e-2)


def test_experts_of_the_decoder_have_twice_the_rank() -> None:
    multiples = sat().multiples
    assert multiples is not None
    assert {n: m for n, m in multiples.items() if n.endswith(".0.0.conv")} == {
        "unet.encoder.0.0.conv": 1,
        "unet.decoder.0.0.conv": 2,
    }
    assert len(multiples) == 6 + 4


def test_what_is_deployed_answers_for_its_classes_in_their_order() -> None:
    network, images = moved(sat()), torch.randn(2, 1, 8, 8, 8)
    answering = Answering(network, ["left kidney", "liver"]).eval()
    assert answering.width == 8
    with torch.no_grad():
        said = answering(images).logits
    assert torch.equal(said, logits(network, images, asked([2, 0], [2, 0])))
    with pytest.raises(UserError, match="Class 'aorta' is none of those that sat/unet knows"):
        Answering(network, ["aorta"])


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ((8, 8, 7), r"multiples of \[4, 4, 4\]; the next are \[8, 8, 8\]"),
        ((4, 4, 4), "try one of twice the sides"),
        ((8, 8), "give three sides"),
        ((8, 0, 8), "give three sides"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(patch: tuple[int, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        sat().shapes(patch)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": [4, 8]}, "has no option 'width'. Did you mean 'widths'"),
        ({"widths": [8]}, r"widths = \[8\]: Tuple should have at least 2 items"),
        ({"convs": 0}, "convs = 0: Input should be greater than or equal to 1"),
        ({"heads": 5}, "hidden = 12 is no multiple of heads = 5"),
        ({"strides": [1, 2]}, "strides has 2 entries for 3 stages"),
        ({"kernels": [3, 3, [2, 3, 3]]}, "their sides must be odd"),
        ({"hidden": 3, "heads": 1}, "3 classes are too many for fixed queries of length 3"),
    ],
)
def test_an_option_that_cannot_be_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as raised:
        sat(**options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sat/nanno", "Unknown sat backbone 'nanno'. Did you mean nano"),
        ("nano", "'nano' is no segmenter: write sat/<name> or monai/<name>"),
        ("satt/nano", "Unknown segmenter 'satt'. Did you mean 'sat'?"),
    ],
)
def test_a_name_that_nobody_has_is_refused(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says.replace("?", r"\?")):
        build_segmenter(name, {}, CLASSES)


def test_a_class_stands_in_a_vocabulary_once() -> None:
    with pytest.raises(UserError, match="Class 'liver' is in the vocabulary twice"):
        sat(("liver", "spleen", "liver"))
