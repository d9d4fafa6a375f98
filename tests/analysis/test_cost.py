"""Costs are those that the papers print, counted by hand where nobody prints them."""

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

from medistill.analysis.cost import Cost, cost, cost_together, ratios

PHOTO = (3, 224, 224)


def model(name):
    return torchvision.models.get_model(name)


class TestPrintedNumbers:
    @pytest.mark.parametrize(
        ("name", "millions"), [("shufflenet_v2_x1_0", 143.88), ("resnet50", 4087.1)]
    )
    def test_convolutions_alone(self, name, millions):
        # methods.md §8.1 gives the digits that these tolerances keep.
        assert cost(model(name), PHOTO).convolution_macs / 1e6 == pytest.approx(millions, abs=0.05)

    @pytest.mark.parametrize(
        ("name", "parameters"),
        [("shufflenet_v2_x1_0", 1_253_604), ("shufflenet_v2_x0_5", 341_792),
         ("resnet50", 23_508_032), ("resnet18", 11_176_512), ("mobilenet_v2", 2_223_872)],
    )  # fmt: skip
    def test_backbones_without_their_classifier(self, name, parameters):
        network = model(name)
        setattr(network, "fc" if hasattr(network, "fc") else "classifier", nn.Identity())
        assert cost(network, PHOTO).parameters == parameters

    @pytest.mark.parametrize(
        ("name", "parameters", "macs"),
        [
            ("shufflenet_v2_x0_5", 1.37, 0.040),
            ("mobilenet_v3_small", 2.54, 0.057),
            ("mobilenet_v2", 3.50, 0.301),
            ("efficientnet_b0", 5.29, 0.386),
            ("resnet18", 11.69, 1.814),
        ],
    )
    def test_students_of_the_facts(self, name, parameters, macs):
        found = cost(model(name), PHOTO)
        assert found.parameters / 1e6 == pytest.approx(parameters, abs=0.005)
        assert found.macs / 1e9 == pytest.approx(macs, abs=0.0005)


class TestAttention:
    def by_hand(self, width=192, tokens=197, depth=12, patches=196):
        embedding = patches * width * 3 * 16 * 16
        # Queries, keys, values, output: 4; MLP: 8; scores and their use: 2 tokens each.
        block = 12 * tokens * width**2 + 2 * tokens**2 * width
        return embedding + depth * block + width * 1000

    def test_counts_in_a_vision_transformer(self):
        assert cost(timm.create_model("vit_tiny_patch16_224"), PHOTO).macs == self.by_hand()

    def test_counts_in_torchs_own_fused_layer(self):
        found = cost(model("vit_b_16"), PHOTO)
        assert found.macs == self.by_hand(width=768)


class TestByHand:
    def test_a_grouped_convolution_in_three_dimensions(self):
        network = nn.Conv3d(4, 6, 3, padding=1, groups=2, bias=False)
        macs = 6 * 5 * 6 * 7 * (4 // 2) * 27
        assert cost(network, (4, 5, 6, 7)) == Cost(6 * 2 * 27, macs, macs, 4 * 6 * 2 * 27)

    def test_shared_weights_count_once_and_work_twice(self):
        layer = nn.Linear(8, 8, bias=False)
        found = cost(nn.Sequential(layer, nn.ReLU(), layer), (8,))
        assert found == Cost(64, 2 * 64, 0, 4 * 64)

    def test_buffers_weigh_in_the_file_alone(self):
        found = cost(nn.BatchNorm2d(5), (5, 2, 2))
        assert (found.parameters, found.macs) == (10, 0)
        assert found.bytes == 4 * 4 * 5 + 8  # the count of batches has 64 bits

    def test_half_precision_takes_half_the_bytes(self):
        assert cost(nn.Linear(8, 8, bias=False).half(), (8,)).bytes == 2 * 64


def test_the_network_stays_as_it_was():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    network[0].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cost(network, (3, 8, 8))
    assert [module.training for module in network.modules()] == [True, False, True]
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())


def test_flops_are_twice_the_macs_and_units_are_said():
    found = Cost(2_500_000, 300_000_000, 0, 10_000_000)
    assert found.flops == 600_000_000
    assert str(found) == (
        "2.50 M parameters (10^6), 0.300 GMACs = 0.600 GFLOPs (10^9) per input, 10.00 MB (10^6)"
    )


def test_ratios_are_student_over_teacher():
    student, teacher = Cost(1, 2, 3, 4).as_dict(), Cost(10, 10, 0, 10).as_dict()
    assert ratios(student, teacher) == {"parameters": 0.1, "macs": 0.2, "bytes": 0.4, "flops": 0.2}


class TestTogether:
    def test_what_networks_share_counts_once(self):
        one = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
        other = nn.Sequential(copy.deepcopy(one[0]), nn.Linear(8, 3))
        found = cost_together([one, other])
        assert found["parameters"] == (4 + 1) * 8 + (8 + 1) * 2 + (8 + 1) * 3
        assert found["bytes"] == 4 * found["parameters"]

    def test_one_bit_of_difference_is_another_tensor(self):
        one = nn.Linear(4, 8, bias=False)
        other = copy.deepcopy(one)
        with torch.no_grad():
            other.weight[0, 0] += 1
        assert cost_together([one, other])["parameters"] == 2 * 32

    def test_of_one_network_it_is_its_own_cost(self):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        alone = cost(network, (3, 8, 8))
        assert cost_together([network]) == {"parameters": alone.parameters, "bytes": alone.bytes}
