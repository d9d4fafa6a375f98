"""The factors' shapes and their flat reading as a weight: methods.md §4.2."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.linalg import matrix_rank
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.models.lowrank.geometry import Geometry, change, geometry_of, padded

FLAT, CUBIC = nn.Conv2d(5, 7, 3), nn.Conv3d(5, 7, 3)


def factors(layer: Geometry, rank: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = layer.factors(rank)
    return torch.randn(a, dtype=torch.double), torch.randn(b, dtype=torch.double)


class TestShapes:
    @pytest.mark.parametrize(
        ("conv", "expected"),
        [
            (FLAT, ((6, 15), (21, 6))),  # r k x Cin k, and Cout k x r k
            (CUBIC, ((6, 45), (21, 6))),  # r k x Cin k², and the same B
            (nn.Conv2d(5, 7, 1), ((2, 5), (7, 2))),  # plain LoRA
            (nn.Conv3d(5, 7, (3, 1, 2)), ((6, 10), (21, 6))),
        ],
    )
    def test_factors_are_those_of_the_paper(self, conv: nn.Conv2d, expected: tuple) -> None:
        assert geometry_of(conv).factors(2) == expected

    @pytest.mark.parametrize("conv", [FLAT, CUBIC])
    def test_parameters_of_an_expert_are_counted_by_the_formula(self, conv: nn.Conv2d) -> None:
        a, b = geometry_of(conv).factors(8)
        k, dims = 3, conv.weight.ndim - 2
        columns = 5 if dims == 2 else k * 5
        assert a[0] * a[1] + b[0] * b[1] == 8 * k**2 * (columns + 7)


class TestChange:
    @pytest.mark.parametrize("conv", [FLAT, CUBIC])
    def test_each_element_stands_where_the_paper_puts_it(self, conv: nn.Conv2d) -> None:
        layer, k, inputs = geometry_of(conv), 3, 5
        a, b = factors(layer)
        added, whole = change(a, b, layer.shape), b @ a
        for o, i, u, *rest in product(range(7), range(inputs), *map(range, layer.kernel)):
            q = i * k + u
            tail = rest[0] if len(rest) == 1 else rest[0] * k + rest[1]
            place = o * k + q // inputs, (q % inputs) * layer.rest + tail
            assert added[(o, i, u, *rest)] == whole[place]

    @pytest.mark.parametrize(("kernel", "bound"), [(3, 18), (1, 2)])
    def test_rank_of_the_unfolded_change_is_at_most_r_k_squared(
        self, kernel: int, bound: int
    ) -> None:
        layer = geometry_of(nn.Conv2d(40, 40, kernel))
        unfolded = change(*factors(layer), layer.shape).flatten(1)
        assert matrix_rank(unfolded) == bound

    def test_several_experts_change_at_once(self) -> None:
        layer = geometry_of(FLAT)
        pairs = [factors(layer) for _ in range(3)]
        a, b = (torch.stack(side) for side in zip(*pairs, strict=True))
        alone = torch.stack([change(*pair, layer.shape) for pair in pairs])
        assert_close(change(a, b, layer.shape), alone)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch warns of its own copy
class TestPadding:
    @pytest.mark.parametrize(
        "conv",
        [
            nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
            nn.Conv2d(2, 3, (4, 3), padding=(2, 1), padding_mode="circular"),
            nn.Conv2d(2, 3, (2, 5), padding="same", dilation=(3, 1)),
            nn.Conv3d(2, 3, 3, padding="valid"),
            nn.Conv3d(2, 3, 3, padding=(0, 1, 2), stride=2),
        ],
        ids=str,
    )
    def test_what_is_padded_and_convolved_is_what_the_layer_gives(self, conv: nn.Conv2d) -> None:
        images = torch.randn(2, 2, *[6, 7, 8][: conv.weight.ndim - 2])
        layer = geometry_of(conv)
        found = layer.convolve(padded(conv, images), conv.weight, conv.bias)
        assert_close(found, conv(images))
        assert found.shape[2:] == layer.plane(tuple(padded(conv, images).shape[2:]))

    def test_a_border_of_zeros_goes_around_pixels(self) -> None:
        layer = geometry_of(nn.Conv2d(2, 3, 3, padding=(1, 2)))
        pixels = torch.randn(1, 4, 5, 2)
        bordered = layer.bordered(pixels).movedim(-1, 1)
        assert torch.equal(bordered, F.pad(pixels.movedim(-1, 1), (2, 2, 1, 1)))
