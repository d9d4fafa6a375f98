"""What authors publish is loaded whole, each tensor in its place, and shown what it was shown."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from medistill import catalog
from medistill.models.backbones.base import Backbone
from medistill.models.checkpoints.base import CHECKPOINTS, Checkpoint, find_checkpoint
from medistill.models.checkpoints.radimagenet_densenet121 import RadimagenetDensenet121
from medistill.models.networks import Encoder
from medistill.models.sources import Network, load_network
from tests.models.checkpoints import published
from tests.models.checkpoints.published import State

NAMES = catalog.available(CHECKPOINTS)
SMALL_VIT = {"depth": 1, "embed_dim": 48, "num_heads": 3}
Load = Callable[..., Network]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Writes a file, loads it, and deletes it: some are large."""
    path = tmp_path / "file.pt"

    def loading(name: str, content: Any, **settings: Any) -> Network:
        torch.save(content, path)
        try:
            network = load_network(name, str(path), **settings)
            tensors = chain(network.backbone.parameters(), network.backbone.buffers())
            assert not any(tensor.is_meta for tensor in tensors)
            return network
        finally:
            path.unlink()

    return loading


@pytest.fixture(scope="module")
def densenet() -> Backbone:
    return RadimagenetDensenet121.editions[0].released()


def own(network: Network) -> dict[str, Tensor]:
    return network.backbone.network.state_dict()


def seen(backbone: Backbone, size: int = 64, **settings: Any) -> Tensor:
    """The features of a grey picture."""
    picture = torch.linspace(0, 1, size * size).view(1, 1, size, size).expand(2, 3, -1, -1)
    with torch.no_grad():
        features: Tensor = Encoder(backbone, **settings).eval()(picture).features
    assert features.isfinite().all()
    return features


def same(tensor: Tensor, half: Tensor) -> bool:
    return tensor.dtype == torch.float32 and torch.equal(tensor, half.float())


def test_pmc_clip(load: Load) -> None:
    tower = published.clip_tower()
    assert len(tower) == 339
    network = load("pmc_clip", published.pmc_clip())
    state = own(network)
    assert same(state["stem.conv3.conv.weight"], tower["conv3.weight"])
    assert same(state["stem.conv1.bn.running_var"], tower["bn1.running_var"])
    assert same(state["stages.2.5.conv2_kxk.bn.bias"], tower["layer3.5.bn2.bias"])
    assert same(
        state["stages.3.0.shortcut.conv.conv.weight"], tower["layer4.0.downsample.0.weight"]
    )
    assert sum(".visual." in key for key in network.report.left_out) == 9  # attention pooling
    assert network.size == 224


def test_the_separate_file_of_pmc_clip_computes_what_clips_resnet_does(load: Load) -> None:
    tower = {name: tensor.float() for name, tensor in published.clip_tower().items()}
    backbone = load("pmc_clip", tower).backbone.eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        maps = backbone(images)
    torch.testing.assert_close(maps[-1], clip_resnet(tower, images), rtol=1e-4, atol=1e-4)


def clip_resnet(state: State, images: Tensor) -> Tensor:
    """CLIP's modified ResNet-50 up to its pooling, written down plainly."""

    def block(x: Tensor, name: str, stride: int) -> Tensor:
        y = _conv_norm(state, x, f"{name}.conv1", f"{name}.bn1").relu()
        y = _conv_norm(state, y, f"{name}.conv2", f"{name}.bn2", padding=1).relu()
        y = F.avg_pool2d(y, stride)  # where others have a stride
        y = _conv_norm(state, y, f"{name}.conv3", f"{name}.bn3")
        if f"{name}.downsample.0.weight" in state:
            x = F.avg_pool2d(x, stride)
            x = _conv_norm(state, x, f"{name}.downsample.0", f"{name}.downsample.1")
        return (x + y).relu()

    x = images
    for number, stride in ((1, 2), (2, 1), (3, 1)):
        x = _conv_norm(state, x, f"conv{number}", f"bn{number}", stride=stride, padding=1).relu()
    return _stages(F.avg_pool2d(x, 2), block)


def _stages(x: Tensor, block: Callable[[Tensor, str, int], Tensor]) -> Tensor:
    for stage, count in enumerate((3, 4, 6, 3), start=1):
        for number in range(count):
            stride = 2 if stage > 1 and number == 0 else 1
            x = block(x, f"layer{stage}.{number}", stride)
    return x


def _conv_norm(
    state: State, x: Tensor, conv: str, norm: str, *, eps: float = 1e-5, **settings: int
) -> Tensor:
    x = F.conv2d(x, state[f"{conv}.weight"], state.get(f"{conv}.bias"), **settings)
    statistics = (state[f"{norm}.running_mean"], state[f"{norm}.running_var"])
    return F.batch_norm(x, *statistics, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=eps)


def test_radimagenet_resnet50_sees_in_red_first_what_it_was_shown_blue_first(load: Load) -> None:
    file = published.radimagenet_resnet50()
    assert len(file) == 318
    network = load("radimagenet/resnet50", file)
    state = own(network)
    assert same(state["bn1.running_mean"], file["backbone.1.running_mean"])
    assert same(state["layer4.2.conv3.weight"], file["backbone.7.2.conv3.weight"])
    assert network.report.left_out == ()
    colours = torch.rand(1, 3, 32, 32)
    theirs = (colours.flip(1) * 255 - 127.5) * 2 / 255  # as their notebook does with cv2's images
    first = F.conv2d(theirs, file["backbone.0.weight"].float(), stride=2, padding=3)
    ours: Tensor = network.backbone.network.conv1(Encoder(network.backbone).prepared(colours))
    torch.testing.assert_close(ours, first, rtol=1e-4, atol=1e-5)


def test_the_port_of_radimagenet_is_told_apart_and_computes_what_keras_does(load: Load) -> None:
    file = published.radimagenet_port()
    network = load("radimagenet_resnet50", published.prefixed("module.", file))
    assert network.backbone.spec.name == "keras_resnet/resnet50"
    assert network.backbone.std == (1.0, 1.0, 1.0)  # Keras subtracts a mean, and no more
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        last = network.backbone.eval()(images)[-1]
    state = {name: tensor.float() for name, tensor in file.items()}
    torch.testing.assert_close(last, keras_resnet(state, images.flip(1)), rtol=1e-4, atol=1e-4)


def keras_resnet(state: State, images: Tensor) -> Tensor:
    """Keras' ResNet-50 written down plainly, of images whose blue comes first."""
    eps = 1.001e-5

    def block(x: Tensor, name: str, stride: int) -> Tensor:
        y = _conv_norm(state, x, f"{name}.conv1", f"{name}.bn1", eps=eps, stride=stride).relu()
        y = _conv_norm(state, y, f"{name}.conv2", f"{name}.bn2", eps=eps, padding=1).relu()
        y = _conv_norm(state, y, f"{name}.conv3", f"{name}.bn3", eps=eps)
        if f"{name}.downsample.0.weight" in state:
            shortcut = (f"{name}.downsample.0", f"{name}.downsample.1")
            x = _conv_norm(state, x, *shortcut, eps=eps, stride=stride)
        return (x + y).relu()

    x = _conv_norm(state, images, "conv1", "bn1", eps=eps, stride=2, padding=3).relu()
    return _stages(F.max_pool2d(x, 3, stride=2, padding=1), block)


def test_radimagenet_densenet121(load: Load) -> None:
    file = published.radimagenet_densenet121()
    assert len(file) == 725
    network = load("radimagenet_densenet121", published.prefixed("module.", file))
    state = own(network)
    last = "denseblock4.denselayer16.conv2.weight"
    assert same(state[f"features.{last}"], file[f"backbone.0.{last}"])
    assert same(state["features.conv0.weight"].flip(1), file["backbone.0.conv0.weight"])
    assert (network.backbone.mean, network.backbone.std) == ((0.5,) * 3, (0.5,) * 3)
    assert seen(network.backbone).shape == (2, 1024)


@pytest.mark.parametrize("before", ["0.", "features.", "backbone.features."])
def test_files_of_radimagenet_go_by_other_names_too(before: str, densenet: Backbone) -> None:
    model = RadimagenetDensenet121
    file = published.hollow(published.densenet121())
    spelt = {key.replace("features.", before): value for key, value in file.items()}
    match = model.match(model.edition_of(spelt), densenet, spelt)
    assert match.complaints == []
    assert match.found["features.norm5.bias"] == (f"{before}norm5.bias",)


@pytest.mark.parametrize("auxiliary", [True, False])
def test_radimagenet_inceptionv3(load: Load, auxiliary: bool) -> None:
    file = published.radimagenet_inceptionv3(auxiliary=auxiliary)
    network = load("radimagenet_inceptionv3", file)
    shift = int(auxiliary)
    last = f"backbone.{17 + shift}.branch_pool.conv.weight"
    assert same(own(network)["Mixed_7c.branch_pool.conv.weight"], file[last])
    assert same(own(network)["Mixed_5b.branch1x1.bn.bias"], file["backbone.7.branch1x1.bn.bias"])
    assert bool(network.report.left_out) == auxiliary
    assert seen(network.backbone, size=80).shape == (2, 2048)


def test_lvm_med_vit(load: Load) -> None:
    file = published.filled(published.sam(absolute=False, whole=(2, 5, 8, 11)))
    assert len(file) == 176
    network = load("lvm_med_vit", file)
    state = own(network)
    assert same(state["blocks.7.mlp.fc2.bias"], file["blocks.7.mlp.lin2.bias"])
    assert same(state["blocks.0.attn.rel_pos_h"], file["blocks.0.attn.rel_pos_h"])
    assert state["blocks.11.attn.rel_pos_w"].shape == (27, 64)  # of 14 x 14 patches, not 64 x 64
    assert network.report.left_out == tuple(sorted(key for key in file if "neck" in key))
    assert network.backbone.shapes(224)[-1] == (768, 14, 14)
    assert seen(network.backbone, size=224).shape == (2, 768)


SMALL_SAM: dict[str, Any] = {
    "depth": 2,
    "embed_dim": 128,
    "num_heads": 2,
    "global_attn_indexes": [1],
}


def small_medsam() -> State:
    return published.medsam(depth=2, width=128, whole=(1,))


@pytest.mark.parametrize("size", [96, 256])
def test_medsam_of_another_size_sees_what_it_would_see_by_itself(load: Load, size: int) -> None:
    file = small_medsam()
    whole = load("medsam", {"model": file, "optimizer": {}, "epoch": 9}, options=SMALL_SAM)
    assert whole.size == 1024
    resized = load("medsam", file, options=SMALL_SAM, size=size)
    assert own(resized)["pos_embed"].shape == (1, size // 16, size // 16, 128)
    images = torch.rand(1, 3, size, size)
    with torch.no_grad():  # SAM interpolates at each step what is here interpolated once
        by_itself, ours = whole.backbone.eval()(images), resized.backbone.eval()(images)
    torch.testing.assert_close(ours[-1], by_itself[-1], rtol=1e-4, atol=1e-5)


def test_medsam_is_shown_what_its_authors_show_it(load: Load) -> None:
    encoder = Encoder(load("medsam", small_medsam(), options=SMALL_SAM, size=64).backbone)
    images = torch.rand(2, 3, 64, 64) / 4 + 0.3
    for image, seen in zip(images, encoder.prepared(images), strict=True):
        # as in their `pre_CT_MR.py`
        theirs = (image - image.min()) / (image.max() - image.min()).clip(min=1e-8)
        torch.testing.assert_close(seen, theirs)


def test_models_whose_authors_stretch_each_image_are_shown_such_images() -> None:
    found = {name: catalog.find(CHECKPOINTS, name, Checkpoint) for name in NAMES}
    stretched = {n for n, model in found.items() if any(e.stretch for e in model.editions)}
    assert stretched == {"medsam", "lvm_med_vit", "lvm_med_resnet50"}


def test_lvm_med_resnet50(load: Load) -> None:
    file = published.filled(published.resnet50())
    dummy = {"fc.weight": torch.ones(1000, 2048), "fc.bias": torch.ones(1000)}
    network = load("lvm_med_resnet50", {**file, **dummy})  # third parties add such a head
    assert same(own(network)["layer2.3.bn1.weight"], file["layer2.3.bn1.weight"])
    assert network.report.left_out == ("fc.bias", "fc.weight")
    assert network.backbone.stretch


def test_chexnet(load: Load) -> None:
    file = published.chexnet()
    key = "module.densenet121.features.denseblock2.denselayer7."
    network = load("chexnet", file)
    state, layer = own(network), "features.denseblock2.denselayer7."
    assert same(state[f"{layer}norm1.weight"], file["state_dict"][f"{key}norm.1.weight"])
    assert same(state[f"{layer}conv2.weight"], file["state_dict"][f"{key}conv.2.weight"])
    assert state[f"{layer}norm1.num_batches_tracked"] == 0  # which 2017 did not count
    assert len(network.report.left_out) == 2
    assert seen(network.backbone).shape == (2, 1024)


def test_torchxrayvision_sees_grey_in_three_channels(load: Load) -> None:
    file = published.torchxrayvision()
    network = load("torchxrayvision_densenet121", file)
    encoder = Encoder(network.backbone)
    grey = torch.rand(1, 1, 32, 32)
    theirs = (2 * grey - 1) * 1024  # as their `normalize` does
    first = F.conv2d(theirs, file["features.conv0.weight"].float(), stride=2, padding=3)
    images = encoder.prepared(grey.expand(-1, 3, -1, -1))
    ours: Tensor = network.backbone.network.features.conv0(images)
    torch.testing.assert_close(ours, first, rtol=1e-4, atol=1e-3)  # of values around 1000
    assert seen(network.backbone).shape == (2, 1024)


@pytest.mark.parametrize("prefix", ["visual.trunk.", "module.visual.trunk.", ""])
def test_biomedclip_needs_its_vision_trunk_alone(load: Load, prefix: str) -> None:
    file = published.biomedclip(depth=1, width=48)
    spelt = {key.replace("visual.trunk.", prefix): value for key, value in file.items()}
    network = load("biomedclip", spelt, options=SMALL_VIT)
    state = own(network)
    assert same(state["blocks.0.attn.qkv.bias"], file["visual.trunk.blocks.0.attn.qkv.bias"])
    assert same(state["pos_embed"], file["visual.trunk.pos_embed"])
    assert "logit_scale" in network.report.left_out
    assert seen(network.backbone, size=224).shape == (2, 48)


def test_rad_dino(tmp_path: Path) -> None:
    file = published.rad_dino()
    save_file(file, tmp_path / "backbone_compatible.safetensors")
    network = load_network("rad_dino", str(tmp_path / "backbone_compatible.safetensors"), size=56)
    (tmp_path / "backbone_compatible.safetensors").unlink()
    state = own(network)
    assert same(state["blocks.11.ls2.gamma"], file["blocks.11.ls2.gamma"])
    assert same(state["pos_embed"][:, 0], file["pos_embed"][:, 0])  # the class token's is as it was
    assert state["pos_embed"].shape == (1, 17, 768)
    assert network.report.left_out == ("mask_token",)
    assert network.size == 56
    assert seen(network.backbone, size=56).shape == (2, 768)


def test_rad_dino_of_transformers_is_the_same(load: Load) -> None:
    small: dict[str, Any] = {"depth": 1, "width": 48}
    ours = own(load("rad_dino", published.rad_dino(**small), options=SMALL_VIT))
    theirs = published.rad_dino_of_transformers(**small)
    network = load("rad_dino", theirs, options=SMALL_VIT)
    assert network.size == 518
    assert all(torch.equal(tensor, ours[name]) for name, tensor in own(network).items())


@pytest.mark.parametrize("name", NAMES)
def test_each_says_whose_it_is_and_where_its_file_is_found(name: str) -> None:
    model = catalog.find(CHECKPOINTS, name, Checkpoint)
    assert f"{model.paper} "[-5:].strip().isdigit(), "a paper ends with its year"
    assert ": " in model.found and "." in model.found
    assert model.licence is None or " " not in model.licence
    assert all(edition.telltale for edition in model.editions)


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("PMC-CLIP", "PmcClip"),
        ("radimagenet/densenet121", "RadimagenetDensenet121"),
        ("RAD-DINO", "RadDino"),
        ("lvmmed_vit", "LvmMedVit"),
        ("timm/resnet50", None),
    ],
)
def test_a_name_is_found_however_it_is_spelt(spelt: str, name: str | None) -> None:
    found = find_checkpoint(spelt)
    assert (found and found.__name__) == name
