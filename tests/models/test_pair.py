"""Two backbones as one."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from medistill.analysis.cost import cost
from medistill.errors import UserError
from medistill.models.backbones.base import build_backbone
from medistill.models.backbones.pair import Branch, Pair
from medistill.models.deployed import load_deployed, save_deployed
from medistill.models.networks import Encoder, Student

SHUFFLENETS = "pair/torchvision/shufflenet_v2_x1_0+torchvision/shufflenet_v2_x0_5"
TESTS = "pair/timm/test_efficientnet+timm/test_resnet"


def test_features_are_the_sum_of_both() -> None:
    pair = build_backbone(SHUFFLENETS).eval()
    assert isinstance(pair, Pair) and isinstance(pair.own.project, nn.Identity)
    images = torch.rand(2, 3, 64, 64)
    both = [part(images)[-1].mean((2, 3)) for part in (pair.common, pair.own.backbone)]
    assert_close(pair(images)[-1].mean((2, 3)), both[0] + both[1])


def test_maps_are_those_of_the_large_one_but_for_the_last() -> None:
    pair = build_backbone(TESTS).eval()
    images = torch.rand(2, 3, 64, 64)
    maps, common = pair(images), pair.common(images)
    assert all(torch.equal(a, b) for a, b in zip(maps[:-1], common[:-1], strict=True))
    assert tuple(tuple(m.shape[1:]) for m in maps) == pair.shapes(64)
    assert pair.width == pair.common.width != pair.own.backbone.width


def test_parameters_and_arithmetic_add_up() -> None:
    with torch.device("meta"):
        pair = build_backbone(SHUFFLENETS)
    parts = [cost(part, (3, 64, 64)) for part in (pair, pair.common, pair.own.backbone)]
    assert parts[0].parameters == 1_595_396
    assert parts[0].macs == parts[1].macs + parts[2].macs


def test_a_pair_comes_back_from_its_folder_alone(tmp_path: Path) -> None:
    made = build_backbone("timm/test_efficientnet"), build_backbone("timm/test_resnet")
    pair = Pair.of(made[0], Branch(made[1], made[0].width))
    student = Student(Encoder(pair, mean=0.4), 2)
    student(torch.rand(4, 3, 64, 64))  # moves the statistics of batch norms
    save_deployed(student, tmp_path, {"task": "lung", "classes": ["a", "b"], "size": 64})
    loaded, config = load_deployed(tmp_path)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded(images).logits, student.eval()(images).logits)
    assert config["backbone"] == {"name": TESTS, "options": {"common": {}, "own": {}}}


def test_a_pair_sees_images_as_the_large_one_does() -> None:
    common, small = build_backbone("timm/test_efficientnet"), build_backbone("timm/test_resnet")
    common.stretch = True
    assert Encoder(Pair.of(common, Branch(small, common.width))).stretch


def test_options_reach_their_part() -> None:
    pair = build_backbone(TESTS, {"own": {"in_chans": 3, "drop_path_rate": 0.1}})
    assert pair.spec.options == {"common": {}, "own": {"in_chans": 3, "drop_path_rate": 0.1}}


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("pair/timm/test_resnet", {}, r"write pair/<large>\+<small>"),
        ("pair/timm/test_resnet+resnet18", {}, "write timm/<name>"),
        (TESTS, {"pad_type": "same"}, "'pad_type' is neither `common` nor `own`"),
    ],
)
def test_a_slip_is_answered_in_one_line(name: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        build_backbone(name, options)


def test_a_size_that_the_small_one_does_not_take_is_refused() -> None:
    with torch.device("meta"):
        pair = build_backbone("pair/timm/test_resnet+timm/vit_tiny_patch16_224")
    with pytest.raises(UserError, match="does not take images of 96 pixels"):
        pair.shapes(96)
