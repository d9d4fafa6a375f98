"""φ has the blocks of methods.md §1.1, in 2D, in 3D and on vectors."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.models.reprogramming import Reprogramming, reprogramming
from medistill.types import Output

SHAPES = [(6, 4, 4), (6, 3, 4, 2), None]


def output(map_shape: tuple[int, ...] | None, batch: int = 5) -> Output:
    if map_shape is None:
        return Output(None, torch.randn(batch, 6))
    maps = torch.randn(batch, *map_shape)
    return Output(None, maps.flatten(2).mean(2), (maps,))


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("map_shape", SHAPES)
@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_it_returns_pooled_features_of_the_students_width(
    map_shape: tuple[int, ...] | None, bottleneck: bool, blocks: int
) -> None:
    phi = reprogramming(6, map_shape, 8, blocks=blocks, bottleneck=bottleneck)
    assert phi.width == 8
    assert phi.on_maps == (map_shape is not None)
    assert phi(output(map_shape)).shape == (5, 8)


def test_two_blocks_on_maps_are_two_basic_blocks_written_out() -> None:
    phi = reprogramming(6, (6, 4, 4), 8).eval()
    (first, second), teacher = phi.blocks, output((6, 4, 4))
    conv_a, norm_a, _, conv_b, norm_b = first.branch
    conv_s, norm_s = first.shortcut
    assert [c.weight.shape[2:] for c in (conv_a, conv_b, conv_s)] == [(3, 3), (3, 3), (1, 1)]

    def convolve(inputs: Tensor, layer: nn.Conv2d, padding: int) -> Tensor:
        return F.conv2d(inputs, layer.weight, padding=padding)

    x = teacher.maps[0]
    branch = norm_b(convolve(norm_a(convolve(x, conv_a, 1)).relu(), conv_b, 1))
    x = (branch + norm_s(convolve(x, conv_s, 0))).relu()
    conv_a, norm_a, _, conv_b, norm_b = second.branch
    x = (norm_b(convolve(norm_a(convolve(x, conv_a, 1)).relu(), conv_b, 1)) + x).relu()
    torch.testing.assert_close(phi(teacher), x.mean((2, 3)))


def test_the_mlp_is_linear_norm_relu_linear_norm_beside_a_linear_shortcut() -> None:
    (block,) = reprogramming(6, None, 8, blocks=1).blocks
    kinds = [type(layer) for layer in block.branch]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert isinstance(block.shortcut, nn.Linear)


def test_block_one_projects_even_between_equal_widths() -> None:
    first, second = reprogramming(8, (8, 4, 4), 8).blocks
    assert isinstance(first.shortcut, nn.Sequential)
    assert isinstance(second.shortcut, nn.Identity)


def test_parameters_are_those_of_the_formula() -> None:
    wide = reprogramming(20, (20, 7, 7), 12)
    assert parameters(wide) == 9 * 20 * 12 + 3 * 9 * 12 * 12 + 20 * 12 + 5 * 2 * 12
    narrow = reprogramming(20, (20, 7, 7), 12, blocks=1, bottleneck=True)
    assert parameters(narrow) == 20 * 6 + 9 * 6 * 6 + 6 * 12 + 20 * 12 + 2 * (6 + 6 + 12 + 12)


def test_weights_start_at_the_kaiming_scale_of_their_fan_out() -> None:
    phi = reprogramming(64, (64, 4, 4), 128)
    weight = phi.blocks[0].branch[0].weight
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.05)


def test_zero_last_gamma_starts_each_block_as_its_shortcut() -> None:
    phi = reprogramming(6, (6, 4, 4), 8, zero_last_gamma=True)
    teacher = output((6, 4, 4))
    expected = phi.blocks[0].shortcut(teacher.maps[0]).relu().mean((2, 3))
    torch.testing.assert_close(phi(teacher), expected)


@pytest.mark.parametrize("map_shape", SHAPES)
def test_every_parameter_of_phi_gets_a_gradient(map_shape: tuple[int, ...] | None) -> None:
    phi = reprogramming(6, map_shape, 8, bottleneck=True)
    (phi(output(map_shape)) * torch.randn(5, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in phi.parameters())


def test_dropout_leaves_out_whole_channels_in_training_alone() -> None:
    phi = Reprogramming(nn.Identity(), 6, on_maps=True, dropout=0.5)
    teacher = Output(None, torch.ones(40, 6), (torch.ones(40, 6, 3, 3),))
    dropped = phi(teacher)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}  # 2 = 1 / (1 - 0.5), over the whole map
    torch.testing.assert_close(phi.eval()(teacher), teacher.features)


def test_dropout_on_vectors_leaves_out_single_channels() -> None:
    phi = Reprogramming(nn.Identity(), 6, on_maps=False, dropout=0.5)
    assert set(phi(Output(None, torch.ones(40, 6))).unique().tolist()) == {0.0, 2.0}
