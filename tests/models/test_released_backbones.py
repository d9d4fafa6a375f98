"""The families that exist for released models: SAM's encoder, and Keras' ResNet."""

from pathlib import Path

import pytest
import torch

from medistill.errors import UserError
from medistill.models.backbones.base import Backbone, build_backbone
from medistill.models.deployed import load_deployed, save_deployed
from medistill.models.networks import Encoder, Student

SMALL = {"depth": 4, "embed_dim": 64, "num_heads": 2, "global_attn_indexes": [3], "img_size": 224}


@pytest.fixture(scope="module")
def sam() -> Backbone:
    return build_backbone("sam_vit/vit_b", {**SMALL, "use_abs_pos": False}).eval()


def test_sam_ends_before_its_neck_with_a_map_for_each_quarter(sam: Backbone) -> None:
    maps = sam(torch.rand(2, 3, 224, 224))
    assert [each.shape for each in maps] == [(2, 64, 14, 14)] * 4
    assert "neck" in sam.dropped
    assert not any("neck" in name for name, _ in sam.named_parameters())


def test_windows_look_no_further_than_14_patches() -> None:
    backbone = build_backbone("sam_vit/vit_b", {**SMALL, "img_size": 448, "depth": 2}).eval()
    images = torch.rand(1, 3, 448, 448)
    changed = images.clone()
    changed[..., 224:, 224:] = 0  # the last of the four windows
    with torch.no_grad():
        difference = (backbone(images)[-1] - backbone(changed)[-1]).abs().amax((0, 1))
    assert difference[14:, 14:].min() > 0
    assert difference[:14].max() == 0
    assert difference[:, :14].max() == 0


def test_norms_have_the_epsilon_of_sam(sam: Backbone) -> None:
    norms = [m for m in sam.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 8
    assert {norm.eps for norm in norms} == {1e-6}


@pytest.mark.parametrize(
    ("name", "parameters", "widths"),
    [
        # 89.7 M as Segment Anything counts it, less the 787 456 of its neck
        ("sam_vit/vit_b", 89_670_912 - 787_456, (768,) * 4),
        ("keras_resnet/resnet50", 23_534_592, (64, 256, 512, 1024, 2048)),
    ],
)
def test_parameters_and_widths(name: str, parameters: int, widths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    assert backbone.widths == widths


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("sam_vit/vit_x", {}, "Unknown sam_vit backbone 'vit_x'. Did you mean vit_"),
        ("keras_resnet/resnet18", {}, "Unknown keras_resnet backbone 'resnet18'. Did you mean"),
        ("sam_vit/vit_b", {"neck_chans": 8}, "'neck_chans' is not one of its options"),
        ("sam_vit/vit_b", {"deepth": 8}, "refused options {'deepth': 8}"),
        ("keras_resnet/resnet50", {"width": 8}, "'width' is not one of its options"),
    ],
)
def test_what_does_not_exist_is_told(name: str, options: dict[str, int], said: str) -> None:
    with pytest.raises(UserError) as raised, torch.device("meta"):
        build_backbone(name, options)
    assert said in str(raised.value)


@pytest.mark.parametrize("name", ["sam_vit/vit_b", "keras_resnet/resnet50"])
def test_no_library_publishes_their_weights(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    with pytest.raises(UserError, match="no library publishes them"):
        backbone.pretrained()


def test_deployed_it_is_built_again_from_its_config(sam: Backbone, tmp_path: Path) -> None:
    student = Student(Encoder(sam, size=224), 2).eval()
    save_deployed(student, tmp_path, {"task": "lung", "classes": ["ill", "well"], "size": 64})
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(load_deployed(tmp_path)[0](images).logits, student(images).logits)
