"""Released SAT and LoRKD checkpoints load as published, with their experts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medistill.errors import UserError
from medistill.models.deployed_segmenters import load_released_experts, load_segmenter_weights
from medistill.models.released_segmenters.base import find_release, releases
from medistill.models.segmenters.base import Segmenter, build_segmenter
from tests.models.segmenters import published
from tests.models.segmenters.published import LORKD_NANO, NANO, PRO, SMALL, filled, hollow, wrapped
from tests.models.segmenters.small import CLASSES, asked, logits

OPTIONS: dict[str, Any] = {
    "widths": [4, 6, 8], "hidden": 12, "heads": 2, "layers": 1, "feedforward": 10, "embedding": 14,
    "mask": 5, "pool": 1,
}  # fmt: skip
Write = Callable[[dict[str, Tensor]], Path]
State = dict[str, Tensor]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writing(state: State) -> Path:
        torch.save(wrapped(state), tmp_path / "file.pth")
        return tmp_path / "file.pth"

    return writing


@pytest.fixture
def sat() -> State:
    return filled(published.sat(SMALL))


@pytest.fixture
def lorkd() -> State:
    return filled(published.lorkd(SMALL))


def network(name: str) -> Segmenter:
    return build_segmenter(f"sat/{name}", OPTIONS, CLASSES).eval()


@pytest.mark.parametrize(
    ("name", "file", "keys"),
    [
        ("sat_nano", published.sat(NANO), 292),
        ("sat_pro", published.sat(PRO), 380),
        ("lorkd_nano", published.lorkd(LORKD_NANO), 830),
        ("lorkd_pro", published.lorkd(NANO), 994),
    ],
)
def test_a_file_of_the_published_size_is_matched(name: str, file: Any, keys: int) -> None:
    assert len(file) == keys  # as the authors' logs print
    release = find_release(name)
    assert release is not None
    with torch.device("meta"):
        segmenter = build_segmenter(release.segmenter, {}, CLASSES)
    assert release.match(segmenter, release.untwinned(hollow(file))).complaints == []


def test_sat_lands_where_it_belongs(write: Write, sat: State) -> None:
    segmenter = network("nano")
    vectors = segmenter.state_dict()["queries.vectors"].clone()
    report = load_segmenter_weights(segmenter, write(sat))
    own = segmenter.state_dict()
    for name, key in {
        "unet.encoder.1.0.conv.weight": "backbone.encoder.stages.1.0.convs.0.conv.weight",
        "unet.encoder.2.1.norm.bias": "backbone.encoder.stages.2.0.convs.1.norm.bias",
        "unet.decoder.1.0.conv.bias": "backbone.decoder.stages.1.convs.0.conv.bias",
        "unet.ups.0.weight": "backbone.decoder.transpconvs.0.weight",
        "embedding.project.2.weight": "projection_layer.2.weight",
        "query_decoder.layers.0.attention.in_proj_weight": (
            "transformer_decoder.layers.0.multihead_attn.in_proj_weight"
        ),
        "query_decoder.norm.weight": "transformer_decoder.norm.weight",
        "mask_embedding.0.weight": "mask_embed_proj.0.weight",
    }.items():
        assert torch.equal(own[name], sat[f"module.{key}"]), name
    assert torch.equal(own["queries.vectors"], vectors)
    assert {key.split(".")[1] for key in report.left_out} == {"mid_mask_embed_proj"}


@pytest.mark.parametrize("kept", ["conv|norm", "all_modules"])
def test_a_tensor_may_be_there_under_either_of_its_names(
    write: Write, sat: State, kept: str
) -> None:
    """As a conversion to safetensors leaves it, which drops one name of the two."""
    gone = "all_modules" if kept == "conv|norm" else r".conv."
    whole, part = network("nano"), network("nano")
    load_segmenter_weights(whole, write(sat))
    other = {
        key: tensor
        for key, tensor in sat.items()
        if gone not in key and not (kept == "all_modules" and ".convs." in key and ".norm." in key)
    }
    assert len(other) < len(sat)
    load_segmenter_weights(part, write(other))
    assert all(torch.equal(a, part.state_dict()[n]) for n, a in whole.state_dict().items())


def test_a_unet_that_registers_its_encoder_twice_loads_too(write: Write, sat: State) -> None:
    twice = {k.replace(".encoder.", ".decoder.encoder."): t for k, t in sat.items()}
    report = load_segmenter_weights(network("nano"), write({**sat, **twice}))
    assert not any("encoder" in key for key in report.left_out)


def test_lorkd_lands_where_it_belongs(write: Write, lorkd: State) -> None:
    segmenter = network("lorkd_nano")
    report = load_segmenter_weights(segmenter, write(lorkd))
    own, prefix = segmenter.state_dict(), "model.module.backbone."
    key = "encoder.stages.1.0.stages.0.conv.conv.weight"
    assert torch.equal(own["unet.encoder.1.0.conv.weight"], lorkd[prefix + key])
    key = "decoder.stages.0.stages.1.norm.weight"
    assert torch.equal(own["unet.decoder.0.1.norm.weight"], lorkd[prefix + key])
    assert all(".lora_" in key for key in report.left_out)


def test_lorkd_without_its_second_names_loads_the_same(write: Write, lorkd: State) -> None:
    for gone in ("unet.", "model.module.backbone."):
        one = {key: tensor for key, tensor in lorkd.items() if not key.startswith(gone)}
        segmenter = network("lorkd_nano")
        load_segmenter_weights(segmenter, write(one), expert=0)
        assert torch.equal(
            segmenter.state_dict()["unet.ups.0.bias"], lorkd["unet.decoder.transpconvs.0.bias"]
        )


def test_an_expert_is_folded_as_its_authors_fold_it(write: Write, lorkd: State) -> None:
    segmenter = network("lorkd_nano")
    load_segmenter_weights(segmenter, write(lorkd), expert="spine")
    for name, stem in {
        "unet.encoder.1.1.conv.weight": "unet.encoder.stages.1.0.stages.1.conv.",
        "unet.decoder.0.0.conv.weight": "unet.decoder.stages.0.stages.0.conv.",
    }.items():
        shared = lorkd[f"{stem}conv.weight"]
        product = lorkd[f"{stem}lora_B_list.5"] @ lorkd[f"{stem}lora_A_list.5"]
        torch.testing.assert_close(
            segmenter.state_dict()[name], shared + 2 * product.view(shared.shape)
        )


def test_experts_of_one_rank_are_scaled_by_it(write: Write) -> None:
    file = filled(published.lorkd(SMALL, [4] * 8))
    segmenter = network("lorkd_nano")
    load_segmenter_weights(segmenter, write(file), expert=1)
    stem = "unet.decoder.stages.0.stages.0.conv."
    shared = file[f"{stem}conv.weight"]
    product = file[f"{stem}lora_B_list.1"] @ file[f"{stem}lora_A_list.1"]
    torch.testing.assert_close(  # 16 over the decoder's rank, which is 8
        segmenter.state_dict()["unet.decoder.0.0.conv.weight"],
        shared + 2 * product.view(shared.shape),
    )


def test_all_experts_are_had_at_once(write: Write, lorkd: State) -> None:
    segmenter, folded = network("lorkd_nano"), network("lorkd_nano")
    whole = load_released_experts(segmenter, write(lorkd)).eval()
    load_segmenter_weights(folded, write(lorkd), expert="brain")
    assert whole.ranks == list(published.RANKS)
    images = torch.randn(2, 1, 8, 8, 8)
    with torch.no_grad(), whole.routing.to(torch.tensor([6, 1])):
        routed = whole(images, asked([0], [2])).logits
    expected = logits(folded, images[1:], asked([2]))
    scale = expected.abs().max().item()  # random factors make large numbers
    torch.testing.assert_close(routed[1:], expected, atol=1e-4 * scale, rtol=1e-4)


@pytest.mark.parametrize("expert", ["knee", 8, -1])
def test_a_region_that_has_no_expert_is_refused(
    write: Write, lorkd: State, expert: str | int
) -> None:
    with pytest.raises(UserError, match=r"Choose a place from 0 to 7, or abdomen, brain, "):
        load_segmenter_weights(network("lorkd_nano"), write(lorkd), expert=expert)


def test_a_network_without_experts_has_none_to_fold(write: Write, sat: State) -> None:
    with pytest.raises(UserError, match="has no low-rank experts; leave `expert` out"):
        load_segmenter_weights(network("nano"), write(sat), expert="brain")


def test_factors_that_do_not_fit_are_refused(write: Write, lorkd: State) -> None:
    for stem in ("unet.", "model.module.backbone."):
        lorkd[f"{stem}decoder.stages.0.stages.0.conv.lora_A_list.3"] = torch.ones(3, 5)
    with pytest.raises(UserError, match="expert 3 is not of rank 2 in every layer"):
        load_segmenter_weights(network("lorkd_nano"), write(lorkd), expert="brain")


def test_what_is_missing_is_named_and_nothing_is_loaded(write: Write, sat: State) -> None:
    segmenter = network("nano")
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    del sat["module.mask_embed_proj.2.bias"]
    with pytest.raises(UserError) as raised:
        load_segmenter_weights(segmenter, write(sat), role="teacher")
    says = str(raised.value)
    assert "\n" not in says
    assert says.startswith("teacher weights: 1 of ")
    assert "(mask_embed_proj.2.bias is not in the file); nothing was loaded." in says
    assert all(torch.equal(t, before[n]) for n, t in segmenter.state_dict().items())


def test_what_nobody_knows_is_named(write: Write, sat: State) -> None:
    sat["module.text_tower.weight"] = torch.ones(2)
    with pytest.raises(UserError, match=r"module\.text_tower\.weight is unknown"):
        load_segmenter_weights(network("nano"), write(sat))


def test_a_file_of_another_size_is_refused(write: Write, sat: State) -> None:
    segmenter = build_segmenter("sat/nano", {**OPTIONS, "widths": [4, 6, 10]}, CLASSES)
    with pytest.raises(UserError, match="is 8x6x3x3x3 in the file, not 10x6x3x3x3"):
        load_segmenter_weights(segmenter, write(sat))


def test_every_release_says_where_it_comes_from_and_on_which_terms() -> None:
    assert [one.segmenter for one in releases()] == [
        "sat/lorkd_nano", "sat/lorkd_pro", "sat/nano", "sat/pro",
    ]  # fmt: skip
    for one in releases():
        assert one.paper
        assert one.found
    assert find_release("LoRKD-Pro").licence == "Apache-2.0"  # type: ignore[union-attr]
    assert find_release("sat") is find_release("SAT-Nano")
    assert find_release("sat/lorkd_nano") is find_release("lorkd_nano")
    assert find_release("resnet") is None
