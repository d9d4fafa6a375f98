"""Every library's backbone answers alike: maps from fine to coarse, and no head."""

import copy

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import Backbone, build_backbone, last_of_each_size, quarters
from medistill.models.networks import Encoder, Student

STUDENTS = [
    "torchvision/resnet18",
    "torchvision/mobilenet_v2",
    "torchvision/mobilenet_v3_small",
    "torchvision/shufflenet_v2_x0_5",
    "torchvision/shufflenet_v2_x1_0",
    "torchvision/efficientnet_b0",
    "timm/efficientnet_b0",
]


def on_meta(name: str) -> Backbone:
    """A backbone without memory: for counts and shapes alone."""
    with torch.device("meta"):
        return build_backbone(name)


def evaluated(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = network.eval()(images)
    return output


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("torchvision/shufflenet_v2_x1_0", 1_253_604),
        ("torchvision/shufflenet_v2_x0_5", 341_792),
        ("torchvision/resnet50", 23_508_032),
        ("torchvision/resnet18", 11_176_512),
        ("torchvision/mobilenet_v2", 2_223_872),
        ("torchvision/densenet121", 6_953_856),
        ("timm/resnet50", 23_508_032),
        ("timm/mobilenetv2_100", 2_223_872),
    ],
)
def test_parameters_are_those_that_the_papers_count(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in on_meta(name).parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "widths", "side"),
    [
        ("torchvision/resnet50", (64, 256, 512, 1024, 2048), 7),
        ("torchvision/densenet121", (64, 256, 512, 1024, 1024), 7),
        ("torchvision/convnext_tiny", (96, 192, 384, 768), 7),
        ("torchvision/regnet_y_400mf", (32, 48, 104, 208, 440), 7),
        ("torchvision/googlenet", (64, 192, 480, 832, 1024), 7),
        ("torchvision/mobilenet_v3_small", (16, 16, 24, 48, 576), 7),
        ("timm/resnet50", (64, 256, 512, 1024, 2048), 7),
        ("timm/mobilenetv2_100", (16, 24, 32, 96, 1280), 7),
        ("timm/mobilenetv3_small_100", (16, 16, 24, 48, 576), 7),
        ("timm/vit_tiny_patch16_224", (192, 192, 192, 192), 14),
        ("timm/samvit_base_patch16_224", (768, 768, 768, 768), 14),
        ("timm/mvitv2_tiny", (96, 192, 384, 768), 7),
        ("timm/swin_tiny_patch4_window7_224", (96, 192, 384, 768), 7),
        ("timm/mixer_s16_224", (512, 512, 512, 512), 14),
    ],
)
def test_maps_go_from_fine_to_coarse(name: str, widths: tuple[int, ...], side: int) -> None:
    # torchvision works out the widths of a RegNet with tensors, which meta tensors cannot do
    backbone = build_backbone(name) if "regnet" in name else on_meta(name)
    assert backbone.widths == widths
    assert backbone.width == widths[-1]
    assert backbone.shapes(224)[-1] == (widths[-1], side, side)


@pytest.mark.parametrize("name", STUDENTS)
def test_every_parameter_of_a_student_gets_a_gradient(name: str) -> None:
    student = Student(Encoder(build_backbone(name)), 3)
    logits = student(torch.rand(2, 3, 64, 64)).logits
    assert logits is not None
    logits.sum().backward()
    assert [n for n, p in student.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "densenet121", "googlenet"]
)
def test_pooled_last_map_is_what_torchvision_classifies(name: str) -> None:
    backbone = build_backbone(f"torchvision/{name}").eval()
    extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    whole = torchvision.models.get_model(name, **extra)
    whole.load_state_dict(backbone.network.state_dict(), strict=False)
    heads = [head for head in ("fc", "classifier") if hasattr(whole, head)]
    for head in heads:
        setattr(whole, head, nn.Identity())
    images = torch.rand(2, 3, 64, 64)
    pooled = backbone(images)[-1].mean((2, 3))
    torch.testing.assert_close(pooled, evaluated(whole, images))


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "efficientnet_b0"])
def test_pooled_last_map_is_what_timm_classifies(name: str) -> None:
    backbone = build_backbone(f"timm/{name}").eval()
    whole = timm.create_model(name, num_classes=0)
    whole.load_state_dict(backbone.network.state_dict())
    images = torch.rand(2, 3, 64, 64)
    pooled = backbone(images)[-1].mean((2, 3))
    torch.testing.assert_close(pooled, evaluated(whole, images))


def test_grid_of_a_transformer_is_its_normalised_patches_row_by_row() -> None:
    backbone = build_backbone("timm/deit_tiny_distilled_patch16_224", {"img_size": 64}).eval()
    images = torch.rand(2, 3, 64, 64)
    tokens = backbone.network.forward_features(images)[:, 2:]  # type: ignore[operator]
    grid = backbone(images)[-1]
    assert grid.shape == (2, 192, 4, 4)
    torch.testing.assert_close(grid[:, :, 1, 2], tokens[:, 1 * 4 + 2])


def test_final_norm_is_applied_where_timm_normalises_after_pooling() -> None:
    backbone = build_backbone("timm/vit_tiny_patch16_224", {"img_size": 32, "global_pool": "avg"})
    assert isinstance(backbone.network.norm, nn.Identity)
    for grid in backbone(torch.rand(2, 3, 32, 32)):
        torch.testing.assert_close(grid.mean(1), torch.zeros(2, 2, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("depth", "blocks"), [(12, [2, 5, 8, 11]), (6, [1, 2, 4, 5]), (2, [0, 1]), (1, [0])]
)
def test_quarters_of_a_depth_end_with_its_last_block(depth: int, blocks: list[int]) -> None:
    assert quarters(depth) == blocks


def test_a_transformer_without_stages_gives_the_grids_after_blocks_3_6_9_and_12() -> None:
    backbone = build_backbone("timm/vit_tiny_patch16_224", {"img_size": 32}).eval()
    tokens: list[Tensor] = []
    for block in (2, 5, 8, 11):
        backbone.network.blocks[block].register_forward_hook(lambda *said: tokens.append(said[-1]))
    for grid in backbone(torch.rand(2, 3, 32, 32)):
        expected = backbone.network.norm(tokens.pop(0))[:, 1:]
        torch.testing.assert_close(grid.flatten(2).mT, expected)
    assert not tokens


def test_a_windowed_transformer_gives_the_grids_of_its_quarters_and_its_last_features() -> None:
    options = {"img_size": 32, "depth": 4, "embed_dim": 32, "num_heads": 2, "window_size": 2}
    backbone = build_backbone("timm/samvit_base_patch16_224", options).eval()
    images = torch.rand(2, 3, 32, 32)
    *before, last = backbone(images)
    assert [grid.shape for grid in before] == [(2, 32, 2, 2)] * 3
    torch.testing.assert_close(last, backbone.network.forward_features(images))


def test_options_reach_the_constructor() -> None:
    padded = build_backbone("timm/mobilenetv2_100", {"pad_type": "same"})
    plain = build_backbone("timm/mobilenetv2_100")
    padded.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 32, 32)
    assert not torch.equal(padded.eval()(images)[-1], plain.eval()(images)[-1])
    assert padded.spec.options == {"pad_type": "same"}


def test_normalisation_is_the_librarys_own() -> None:
    assert on_meta("timm/vit_tiny_patch16_224").mean == (0.5, 0.5, 0.5)
    assert on_meta("torchvision/resnet18").std == (0.229, 0.224, 0.225)
    assert on_meta("torchvision/inception_v3").size == 299
    assert on_meta("timm/vit_small_patch14_dinov2").size == 518


def test_names_of_tensors_are_the_librarys_own() -> None:
    for name, library in (
        ("torchvision/densenet121", torchvision.models.get_model),
        ("timm/vit_tiny_patch16_224", timm.create_model),
    ):
        with torch.device("meta"):
            theirs = library(name.partition("/")[2]).state_dict()
        ours = on_meta(name).network.state_dict()
        assert set(ours) == {n for n in theirs if not n.startswith(("classifier.", "head."))}


def test_auxiliary_heads_are_left_out() -> None:
    names = [name for name, _ in on_meta("torchvision/inception_v3").named_parameters()]
    assert not [name for name in names if "Aux" in name or "fc" in name]


def test_a_module_swapped_inside_takes_part() -> None:
    backbone = build_backbone("torchvision/shufflenet_v2_x0_5").eval()
    backbone.network.conv5 = nn.Identity()
    assert backbone(torch.rand(1, 3, 64, 64))[-1].shape[1] == 192


def test_a_copy_shares_nothing() -> None:
    backbone = build_backbone("torchvision/shufflenet_v2_x0_5").eval()
    other = copy.deepcopy(backbone)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    assert backbone(torch.rand(1, 3, 64, 64))[-1].any()


def test_asking_for_shapes_moves_no_statistics_and_no_mode() -> None:
    backbone = build_backbone("torchvision/shufflenet_v2_x0_5")
    before = copy.deepcopy(backbone.state_dict())
    assert backbone.shapes(96)[-1] == (1024, 3, 3)
    assert backbone.training
    assert all(torch.equal(before[n], t) for n, t in backbone.state_dict().items())


def test_of_consecutive_maps_of_one_size_the_last_stays() -> None:
    sizes = [8, 8, 4, 2, 2, 2]
    maps = [torch.full((1, 1, size, size), float(i)) for i, size in enumerate(sizes)]
    assert [m.max().item() for m in last_of_each_size(maps)] == [1.0, 2.0, 5.0]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("resnet18", {}, "write timm/<name> or torchvision/<name>"),
        ("tim/resnet18", {}, "Did you mean 'timm'"),
        ("timm/resnet18d_", {}, "Did you mean resnet18d"),
        ("torchvision/resnet19", {}, "Did you mean resnet18"),
        ("torchvision/vit_b_16", {}, "timm/vit_base_patch16_224"),
        ("torchvision/swin_t", {}, "timm/swin_tiny"),
        ("timm/resnet18", {"widht": 3}, "unexpected keyword argument 'widht'"),
        ("timm/resnet18.no_tag", {}, "no_tag"),
        ("torchvision/resnet18", {"widht": 3}, "unexpected keyword argument 'widht'"),
        ("timm/resnet18", {"checkpoint_path": "x.pth"}, "`weights:` names weights"),
        ("torchvision/resnet18", {"weights": "DEFAULT"}, "`weights:` names weights"),
        ("timm/pit_ti_224", {}, "class tokens alone"),
        ("timm/crossvit_9_240", {}, "no map of features"),
    ],
)
def test_a_slip_is_answered_in_one_line(name: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as raised:
        build_backbone(name, options)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_transformer_says_which_size_it_takes() -> None:
    with pytest.raises(UserError, match=r"does not take images of 96 pixels .*img_size: 96"):
        on_meta("timm/vit_tiny_patch16_224").shapes(96)


def test_families_list_their_architectures() -> None:
    from medistill.models.backbones.timm import Timm
    from medistill.models.backbones.torchvision import Torchvision

    assert {"resnet18", "shufflenet_v2_x0_5"} <= set(Torchvision.names())
    assert "vit_b_16" not in Torchvision.names()
    assert "vit_tiny_patch16_224" in Timm.names()


def test_what_was_built_for_a_size_that_it_cannot_take_is_not_told_to_be_built_for_it() -> None:
    options = {"img_size": 100, "depth": 1, "global_attn_indexes": [0]}
    with torch.device("meta"), pytest.raises(UserError) as raised:
        build_backbone("sam_vit/vit_b", options)
    assert str(raised.value).endswith("Choose another.")
