"""What adapters add to a foundation model, what they leave, and that they come back from a file."""

import copy
import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from medistill import catalog
from medistill.analysis.cost import cost
from medistill.errors import UserError
from medistill.export.onnx import export_onnx
from medistill.models.adapters.base import PACKAGE, hold_still, plain, trunk_of, with_adapters
from medistill.models.backbones.base import build_backbone
from medistill.models.deployed import load_deployed, load_start, save_deployed
from medistill.models.networks import Encoder, Student
from tests.tiny import SIZE, tiny_vit, tiny_windowed_vit

NAMES = catalog.available(PACKAGE)
FIRST = [name for name in NAMES if name not in ("prompt_pool", "shallow_prompts")]
BOTH = [tiny_vit, tiny_windowed_vit]
IMAGES = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
CONFIG = {"task": "it", "classes": ["a", "b", "c"], "size": SIZE}
Make = Callable[..., Student]


def adapted(name: str, encoder: Encoder | None = None, **settings: Any) -> Any:
    """Adapters whose every number is drawn anew, as if they had been trained."""
    encoder = encoder or tiny_vit().encoder
    made = with_adapters(encoder, name, settings)
    known = {id(parameter) for parameter in encoder.parameters()}
    with torch.no_grad():
        for parameter in made.parameters():
            if id(parameter) not in known:
                parameter.normal_()
    return made.eval()


def test_adapters_see_images_as_the_plain_network_does() -> None:
    encoder = tiny_vit().encoder
    encoder.stretch = True
    assert with_adapters(encoder, "query_tokens", {}).stretch
    assert plain(encoder, encoder.backbone).stretch


@cache
def vit_b() -> Encoder:
    """Of shapes alone."""
    with torch.device("meta"):
        return Encoder(build_backbone("timm/vit_base_patch16_224"))


# (d) parameters of methods.md §3, on ViT-B/16: twelve blocks of 768
@pytest.mark.parametrize(
    ("name", "settings", "wanted"),
    [
        ("bottlenecks", {"width": 64}, 1_189_632),
        ("low_rank", {"rank": 4}, 147_456),
        ("shallow_prompts", {"count": 5}, 5 * 768),
        ("deep_prompts", {"count": 5}, 12 * 5 * 768),
        ("query_tokens", {"count": 1}, 12 * 768),
        ("prompt_pool", {}, 12 * 10 * 768 + 20 * 6 * 10 * 768 + 20 * 768),
    ],
)
def test_adapters_of_a_vit_b_have_as_many_parameters_as_published(
    name: str, settings: dict[str, int], wanted: int
) -> None:
    encoder = vit_b()
    made = with_adapters(encoder, name, settings)
    held = sum(parameter.numel() for parameter in made.parameters())
    assert held - sum(parameter.numel() for parameter in encoder.parameters()) == wanted
    assert made.width == (13 * 768 if name == "query_tokens" else 768)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("name", ["bottlenecks", "low_rank"])
def test_the_encoder_begins_exactly_as_it_was(make: Make, name: str) -> None:  # (a)
    encoder = make().eval().encoder
    found, wanted = with_adapters(encoder, name, {}).eval()(IMAGES), encoder(IMAGES)
    assert torch.equal(found.features, wanted.features)
    assert all(torch.equal(*pair) for pair in zip(found.maps, wanted.maps, strict=True))


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_that_is_given_stays_as_it_is(make: Make, name: str) -> None:
    encoder = make().eval().encoder
    before, state = encoder(IMAGES), copy.deepcopy(encoder.state_dict())
    made = adapted(name, encoder)
    assert torch.equal(encoder(IMAGES).features, before.features)
    assert_close(encoder.state_dict(), state, rtol=0, atol=0)
    # Around the very same tensors: a foundation model is not held twice.
    shared = {id(parameter) for parameter in made.parameters()}
    assert all(id(parameter) in shared for parameter in encoder.parameters())


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("name", NAMES)
def test_adapters_come_back_from_their_folder(make: Make, name: str, tmp_path: Path) -> None:
    student = Student(adapted(name, make().encoder), 3)
    save_deployed(student, tmp_path, CONFIG)
    loaded, config = load_deployed(tmp_path)
    assert config["adapters"]["name"] == name
    assert torch.equal(loaded(IMAGES).logits, student.eval()(IMAGES).logits)
    with pytest.raises(UserError, match=f"with {name}, which no plain network starts from"):
        load_start(make().encoder, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_settings_come_back_as_well(name: str) -> None:
    other = {"count": 3, "first_block": 1, "pooling": "patches", "scale": 0.7, "rank": 2}
    known = catalog.settings(catalog.find(PACKAGE, name, Encoder))
    settings = {key: value for key, value in other.items() if key in known}
    made = with_adapters(tiny_vit().encoder, name, settings)
    assert {key: made.adapters["settings"][key] for key in settings} == settings
    assert set(made.adapters["settings"]) <= set(known)


@pytest.mark.parametrize("name", NAMES)
def test_features_and_maps_are_as_wide_as_the_encoder_says(name: str) -> None:
    for make in BOTH:
        made = adapted(name, make().encoder)
        output = made(IMAGES)
        assert output.features.shape == (3, made.width)
        assert [tuple(each.shape[1:]) for each in output.maps] == list(made.shapes(SIZE))


@pytest.mark.parametrize("make", BOTH)
def test_updates_merge_into_plain_weights(make: Make) -> None:  # (e)
    encoder = make().encoder
    made = adapted("low_rank", encoder, rank=3, alpha=2.0)
    merged = made.merged()
    assert type(merged) is Encoder
    assert_close(merged(IMAGES).features, made(IMAGES).features, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(merged(IMAGES).features, encoder(IMAGES).features, atol=1e-3)
    assert merged.state_dict().keys() == encoder.state_dict().keys()


def test_updates_are_those_of_the_formula_and_spare_the_keys() -> None:
    encoder = tiny_vit().encoder
    made = adapted("low_rank", encoder, rank=3, alpha=2.0)
    layer = made.backbone.network.blocks[1].attn.qkv
    update = layer.merged().weight - encoder.backbone.network.blocks[1].attn.qkv.weight
    queries, keys, values = update.chunk(3)
    assert_close(queries, 2 / 3 * layer.up[0] @ layer.down[0], rtol=1e-4, atol=1e-5)
    assert_close(values, 2 / 3 * layer.up[1] @ layer.down[1], rtol=1e-4, atol=1e-5)
    assert not keys.any()


def test_a_bottleneck_reads_tokens_that_are_not_normalised_beside_the_mlp() -> None:
    encoder = tiny_vit(init_values=0.5).encoder
    made = adapted("bottlenecks", encoder, width=5, scale=0.3)
    plain, block = encoder.backbone.network.blocks[2], made.backbone.network.blocks[2]
    tokens = torch.randn(2, 10, 12)
    middle = tokens + plain.ls1(plain.attn(plain.norm1(tokens)))
    down, _, _, up = block.mlp.bottleneck
    wanted = middle + plain.ls2(plain.mlp(plain.norm2(middle))) + 0.3 * up(down(middle).relu())
    assert_close(block(tokens), wanted)


@pytest.mark.parametrize("make", BOTH)
def test_queries_leave_the_encoders_own_path_identical_to_the_bit(make: Make) -> None:  # (b)
    encoder = make().eval().encoder
    found, wanted = adapted("query_tokens", encoder, count=2)(IMAGES), encoder(IMAGES)
    assert all(torch.equal(*pair) for pair in zip(found.maps, wanted.maps, strict=True))
    own = wanted.features
    if make is tiny_vit:
        own = encoder.backbone.network.forward_features(encoder.prepared(IMAGES))[:, 0]
    assert torch.equal(found.features[:, : own.shape[1]], own)
    answers = found.features[:, own.shape[1] :].unflatten(1, (4, 2 * 12))
    assert_close(answers.norm(dim=2), torch.ones(3, 4))


class Spoiled(nn.Module):
    """A block that adds something to the first tokens that it gives."""

    def __init__(self, block: nn.Module, count: int) -> None:
        super().__init__()
        self.block, self.count = block, count

    def forward(self, tokens: Tensor) -> Tensor:
        given: Tensor = self.block(tokens)
        given[:, : self.count] += 100
        return given


@pytest.mark.parametrize("name", ["deep_prompts", "shallow_prompts"])
def test_what_becomes_of_prompts_never_reaches_the_head(name: str) -> None:  # (c)
    made = adapted(name, count=3)
    before, blocks = made(IMAGES), made.backbone.network.blocks
    # Shallow prompts walk on to the next block, so that there the last block alone may be spoilt.
    for index in range(0 if name == "deep_prompts" else len(blocks) - 1, len(blocks)):
        blocks[index] = Spoiled(blocks[index], count=3)
    after = made(IMAGES)
    assert torch.equal(after.features, before.features)
    assert torch.equal(after.maps[-1], before.maps[-1])


@pytest.mark.parametrize("name", ["deep_prompts", "shallow_prompts"])
def test_prompts_stand_behind_the_class_token_as_published(name: str) -> None:
    made = adapted(name, count=3)
    network = made.backbone.network
    tokens = network._pos_embed(network.patch_embed(made.prepared(IMAGES)))
    given = [made.prompts] if name == "shallow_prompts" else made.prompts
    for block, prompts in itertools.zip_longest(network.blocks, given):
        if prompts is not None:
            others = tokens[:, 1:] if tokens.shape[1] == 10 else tokens[:, 4:]
            tokens = torch.cat((tokens[:, :1], prompts(3), others), dim=1)
        tokens = block(tokens)
    assert_close(made(IMAGES).features, network.norm(tokens)[:, 0])


def test_a_pool_adds_the_mean_of_the_nearest_groups_to_the_shared_prompts() -> None:
    made = adapted("prompt_pool", count=2, groups=5, chosen=2, groups_from=1)
    query = made.with_shared_alone(IMAGES).features
    cosines = F.cosine_similarity(query[:, None], made.keys[None], dim=2)
    trunk = trunk_of(tiny_vit().encoder)
    trunk.network = made.backbone.network
    for image in range(3):
        chosen = cosines[image].argsort(descending=True)[:2]
        tokens = trunk.enter(made.prepared(IMAGES[image : image + 1]))
        for index, block in enumerate(trunk.blocks):
            prompts = made.prompts[index](1)
            if index >= 1:
                prompts = torch.cat((prompts, made.groups[chosen].mean(0)[None, index - 1]), dim=1)
            tokens, _ = trunk.prompted(block, tokens, prompts)
        wanted = F.normalize(trunk.network.norm(tokens)[:, 0], dim=1)
        output, nearness = made.looked_up(IMAGES)
        assert_close(output.features[image : image + 1], wanted)
        assert_close(nearness[image], cosines[image][chosen].mean())


def test_the_two_passes_of_a_pool_share_the_blocks_before_the_groups() -> None:
    made = adapted("prompt_pool", groups_from=3)
    runs = [0] * 4
    for index, block in enumerate(made.backbone.network.blocks):
        block.register_forward_hook(
            lambda *_, index=index: runs.__setitem__(index, runs[index] + 1)
        )
    made(IMAGES)
    assert runs == [1, 1, 1, 2]


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("name", FIRST)
def test_autograd_remembers_nothing_below_the_first_adapter(make: Make, name: str) -> None:
    encoder = make().encoder.requires_grad_(False)
    made = adapted(name, encoder, first_block=2)
    remembered: list[bool] = []
    for block in made.backbone.network.blocks:
        block.register_forward_hook(lambda *found: remembered.append(found[2].requires_grad))
    assert made(IMAGES).features.requires_grad
    # Prompts in windows bypass a block's forward; queries never touch the tokens at all.
    own_path = name != "query_tokens"
    expected = [False, False, own_path, own_path]
    assert remembered == expected[: len(remembered)]


@pytest.mark.parametrize("name", FIRST)
def test_a_first_block_beyond_the_last_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="first_block is 4, but the student has 4 blocks"):
        with_adapters(tiny_vit().encoder, name, {"first_block": 4})


@pytest.mark.parametrize("name", ["bottlenecks", "query_tokens"])
def test_what_is_frozen_rests_and_what_is_trained_whole_trains(name: str) -> None:
    encoder = tiny_vit(drop_path_rate=0.5, proj_drop_rate=0.5).encoder.requires_grad_(False)
    made = with_adapters(encoder, name, {"dropout": 0.9})
    hold_still(made.train())
    training = {path for path, module in made.named_modules() if module.training}
    assert any(isinstance(made.get_submodule(path), nn.Dropout) for path in training)
    assert all("bottleneck" in path or path.startswith("queries") for path in training), training


def test_the_head_reads_patches_where_it_is_told_to_or_there_is_no_class_token() -> None:
    for made in (
        adapted("deep_prompts", pooling="patches"),
        adapted("deep_prompts", tiny_windowed_vit().encoder),
    ):
        output = made(IMAGES)
        assert torch.equal(output.features, output.maps[-1].flatten(2).mean(2))
    output = adapted("deep_prompts")(IMAGES)
    assert not torch.allclose(output.features, output.maps[-1].flatten(2).mean(2))


@pytest.mark.parametrize("name", ["prompt_pool", "query_tokens"])
@pytest.mark.parametrize("make", BOTH)
def test_adapters_cost_what_they_add(make: Make, name: str) -> None:
    plain = make().encoder
    before, after = cost(plain, (3, SIZE, SIZE)), cost(adapted(name, plain), (3, SIZE, SIZE))
    assert after.parameters > before.parameters
    assert after.macs > before.macs


def test_adapters_are_exported(tmp_path: Path) -> None:
    student = Student(adapted("prompt_pool", tiny_windowed_vit().encoder), 3).eval()
    config = {**CONFIG, "backbone": {"name": student.backbone.spec.name}}
    export_onnx(student, config, tmp_path / "model.onnx")
    picture = torch.randint(0, 256, (1, SIZE, SIZE, 3), dtype=torch.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(["probabilities"], {"image": picture.numpy()})
    wanted = student(picture.permute(0, 3, 1, 2) / 255).logits.softmax(1)
    assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-5)
