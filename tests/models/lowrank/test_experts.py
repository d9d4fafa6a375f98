"""Experts swapped into networks and folded out: methods.md §4.3, (2) to (7)."""

import copy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.models.backbones.base import build_backbone
from medistill.models.lowrank.convolution import ExpertConvolution
from medistill.models.lowrank.experts import expert, with_experts
from medistill.models.segmenters._unet3d import Plan, UNet3d, triples
from medistill.types import Output
from tests.models.lowrank.made import TASKS, network, run, trained
from tests.tiny import TinyBackbone, tiny_encoder, tiny_student


class TestCounts:
    """§8.1: backbone and experts, heads left out."""

    @pytest.mark.parametrize(("tasks", "total"), [(11, 2_206_380), (10, 2_119_764), (8, 1_946_532)])
    def test_shufflenet_has_as_many_parameters_as_the_paper_says(
        self, tasks: int, total: int
    ) -> None:
        backbone = build_backbone("torchvision/shufflenet_v2_x1_0")
        decomposed = with_experts(backbone, [8] * tasks)
        assert sum(p.numel() for p in decomposed.parameters()) == total

    def test_an_expert_of_rank_1_on_shufflenet_has_10827_numbers(self) -> None:
        backbone = build_backbone("torchvision/shufflenet_v2_x1_0")
        (one,) = with_experts(backbone, [1]).experts
        assert one.numbers.numel() == 10_827

    def test_convolutions_with_groups_get_none(self) -> None:
        shared = with_experts(network(), [2]).shared
        assert [i for i, m in enumerate(shared) if isinstance(m, ExpertConvolution)] == [0, 4, 5]

    def test_a_network_without_convolution_is_refused(self) -> None:
        with pytest.raises(UserError, match="no convolution with one group"):
            with_experts(nn.Linear(3, 3), [2])


class TestPair:
    """Swapping in and folding out."""

    def test_folding_out_no_expert_gives_the_network_back_bit_by_bit(self) -> None:
        net = network()
        back = expert(with_experts(net, [2, 2]), None)
        assert str(back) == str(net)
        assert_close(back.state_dict(), net.state_dict(), rtol=0, atol=0)

    def test_so_does_folding_out_an_expert_that_is_new(self) -> None:
        net = network()
        back = expert(with_experts(net, [2, 2]), 1)
        assert_close(back.state_dict(), net.state_dict(), rtol=0, atol=0)

    def test_neither_changes_its_argument(self, images: Tensor) -> None:
        net = network()
        before = copy.deepcopy(net.state_dict())
        decomposed = trained(net)
        assert_close(net.state_dict(), before, rtol=0, atol=0)
        inside = copy.deepcopy(decomposed.state_dict())
        with torch.no_grad():
            for parameter in expert(decomposed, 1).parameters():
                parameter.zero_()
        assert_close(decomposed.state_dict(), inside, rtol=0, atol=0)

    def test_changing_the_mode_never_touches_weights(self) -> None:
        decomposed = trained(network())
        before = copy.deepcopy(decomposed.state_dict())
        decomposed.eval().train().eval()
        assert_close(decomposed.state_dict(), before, rtol=0, atol=0)

    @pytest.mark.parametrize("task", [0, 1, 2, None])
    def test_a_folded_network_says_what_the_routed_one_says(
        self, images: Tensor, task: int | None
    ) -> None:
        decomposed = trained(network()).eval()
        tasks = None if task is None else torch.full((6,), task)
        folded = expert(decomposed, task).eval()
        # float32, in another order of summation
        assert_close(folded(images), run(decomposed, images, tasks), rtol=1e-5, atol=1e-5)

    def test_shared_modules_stay_shared(self) -> None:
        conv = nn.Conv2d(3, 3, 1)
        decomposed = with_experts(nn.Sequential(conv, nn.ReLU(), conv), [2])
        assert decomposed.shared[0] is decomposed.shared[2]
        back = expert(decomposed, 0)
        assert back[0] is back[2]


class TestSorting:
    """A batch comes in any order, and goes out in it."""

    def test_every_tensor_of_samples_goes_in_and_comes_out_with_them(self) -> None:
        class Answer(NamedTuple):
            masks: Tensor
            maps: tuple[Tensor, ...]
            temperature: Tensor
            missing: None = None

        class Asked(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv3d(1, 4, 3, padding=1)

            def forward(self, volumes: Tensor, queries: Tensor) -> Answer:
                maps = self.conv(volumes)
                picked = queries[..., None, None, None].expand(-1, -1, *maps.shape[2:])
                return Answer(maps.gather(1, picked), (maps,), torch.tensor(3.0))

        decomposed = trained(Asked())
        volumes, queries = torch.rand(6, 1, 3, 4, 5), torch.randint(4, (6, 2))
        with decomposed.routing.to(TASKS):
            found = decomposed(volumes, queries)
        for sample, task in enumerate(TASKS.tolist()):
            alone = expert(decomposed, task)(volumes[sample][None], queries[sample][None])
            assert_close(found.masks[sample], alone.masks[0], rtol=1e-5, atol=1e-5)
            assert_close(found.maps[0][sample], alone.maps[0][0], rtol=1e-5, atol=1e-5)
        assert found.temperature == 3 and found.missing is None

    def test_mappings_and_lists_do_too(self, images: Tensor) -> None:
        class Named(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(3, 2, 1)

            def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
                return {"maps": [self.conv(images)]}

        decomposed = trained(Named())
        with decomposed.routing.to(TASKS):
            (found,) = decomposed(images)["maps"]
        assert_close(found[1], expert(decomposed, 0)(images[1:2])["maps"][0][0])

    def test_a_layer_refuses_a_batch_that_nobody_sorted(self, images: Tensor) -> None:
        decomposed = trained(network())
        with decomposed.routing.to(TASKS), pytest.raises(RuntimeError, match="whole `Decomposed`"):
            decomposed.shared(images)

    @pytest.mark.parametrize("tasks", [TASKS[:4], TASKS.sort().values[:4]])
    def test_so_it_does_where_tasks_and_samples_are_not_as_many(
        self, tasks: Tensor, images: Tensor
    ) -> None:
        with pytest.raises(RuntimeError, match="6 samples, and the tasks of 4"):
            run(trained(network()), images, tasks)


class TestMultiples:
    """Ranks and scales that differ from layer to layer: methods.md §4.9 and §8.2."""

    @staticmethod
    def two() -> nn.Module:
        return nn.Sequential(nn.Conv3d(2, 3, 3), nn.Conv3d(3, 4, 3), nn.Conv3d(4, 2, 1))

    def test_a_named_convolution_has_a_multiple_of_the_rank_and_others_none(self) -> None:
        decomposed = with_experts(self.two(), [4], multiples={"0": 1, "1": 2})
        inner = [a.shape[0] for a, _ in decomposed.experts[0].pairs()]
        assert inner == [4 * 3, 8 * 3]

    @pytest.mark.parametrize(
        ("scaling", "rank", "expected"),
        [
            ("alpha_over_r", 8, (2, 1)),
            ("alpha_over_r", 4, (4, 2)),
            ("fixed", 8, (2, 2)),
            ("fixed", 4, (2, 2)),
        ],
    )
    def test_alpha_is_divided_by_the_rank_of_the_layer_or_by_8(
        self, scaling, rank: int, expected: tuple[int, int]
    ) -> None:
        decomposed = with_experts(self.two(), [rank], scaling=scaling, multiples={"0": 1, "1": 2})
        (one,) = decomposed.experts
        nn.init.normal_(one.numbers)
        for place, (scale, (a, b)) in enumerate(zip(expected, one.pairs(), strict=True)):
            assert_close(one.change(place).flatten(), scale * (b @ a).flatten())

    def test_such_a_network_mixes_and_folds(self) -> None:
        decomposed = with_experts(self.two(), [2, 4, 2], multiples={"0": 1, "1": 2})
        for one in decomposed.experts:
            nn.init.normal_(one.numbers, std=0.1)
        volumes = torch.rand(6, 2, 6, 6, 5)
        found = run(decomposed, volumes, TASKS)
        for task in range(3):
            alone = expert(decomposed, task)(volumes[task == TASKS])
            assert_close(found[task == TASKS], alone, rtol=1e-5, atol=1e-5)

    def test_decoders_of_twice_the_rank_give_the_papers_count(self) -> None:
        plan = Plan(3, (32, 64, 128, 256, 512), 2, triples((1, 2, 2, 2, 2)), triples((3,) * 5))
        with torch.device("meta"):
            unet = UNet3d(plan)
        names = [name for name, module in unet.named_modules() if isinstance(module, nn.Conv3d)]
        multiples = {name: 1 if name.startswith("encoder") else 2 for name in names}
        (one,) = with_experts(unet, [8], multiples=multiples).experts
        assert one.numbers.numel() == 8 * 152_721

    def test_a_name_that_is_no_such_convolution_is_refused(self) -> None:
        with pytest.raises(UserError, match="3 is no convolution with one group of Sequential"):
            with_experts(network(), [2], multiples={"3": 1})


class TestState:
    def test_it_comes_back_with_ranks_that_differ_from_construction(self, images: Tensor) -> None:
        saved = trained(network())
        saved.renew([4, 2, 6])
        for one in saved.experts:
            nn.init.normal_(one.numbers, std=0.1)
        other = with_experts(network(), [2, 2], alpha=1.0)
        other.load_state_dict(saved.state_dict())
        assert other.ranks == [4, 2, 6]
        assert_close(run(other.eval(), images, TASKS), run(saved.eval(), images, TASKS))

    def test_experts_of_the_same_ranks_stay_the_parameters_that_they_are(self) -> None:
        decomposed = trained(network())
        before = list(decomposed.experts)
        decomposed.load_state_dict(trained(network()).state_dict())
        assert all(a is b for a, b in zip(before, decomposed.experts, strict=True))

    def test_after_it_new_experts_are_those_of_the_run_that_was_stopped(self) -> None:
        saved, other = trained(network()), trained(network())
        other.load_state_dict(saved.state_dict())
        saved.renew([4, 4, 2])
        other.renew([4, 4, 2])
        for one, same in zip(saved.experts, other.experts, strict=True):
            assert torch.equal(one.numbers, same.numbers)


class TestRenewal:
    def test_new_experts_have_their_ranks_and_change_nothing(self, images: Tensor) -> None:
        decomposed = trained(network()).eval()
        decomposed.renew([4, 2, 6])
        assert [one.rank for one in decomposed.experts] == [4, 2, 6]
        plain = run(decomposed, images, None)
        assert_close(run(decomposed, images, TASKS), plain, rtol=1e-5, atol=1e-5)

    def test_they_are_the_same_wherever_they_are_made(self) -> None:
        decomposed = with_experts(network(), [2, 2])
        other = copy.deepcopy(decomposed)
        torch.manual_seed(7)
        other.renew([4, 6])
        decomposed.renew([4, 6])
        assert_close(other.state_dict(), decomposed.state_dict(), rtol=0, atol=0)

    def test_first_factors_start_within_their_bound(self) -> None:
        (one,) = with_experts(nn.Conv2d(10, 5, 3), [4]).experts
        (a, b) = one.pairs()[0]
        bound = 30**-0.5  # one over the root of the columns
        assert not b.any()
        assert 0.9 * bound < a.abs().max() <= bound


class TestBackbones:
    def test_a_copy_routes_for_itself(self, images: Tensor) -> None:
        decomposed = trained(network())
        other = copy.deepcopy(decomposed)
        with decomposed.routing.to(None), pytest.raises(RuntimeError):
            other(images)
        run(other, images, TASKS).sum().backward()
        assert all(one.numbers.grad is None for one in decomposed.experts)

    def test_a_backbone_runs_its_own_forward(self, images: Tensor) -> None:
        decomposed = trained(TinyBackbone())
        assert isinstance(decomposed.shared, TinyBackbone)
        fine, coarse = run(decomposed, images, TASKS)
        assert fine.shape[1:] == (4, 6, 6) and coarse.shape[1:] == (6, 3, 3)

    def test_a_student_keeps_its_head_and_its_type(self, images: Tensor) -> None:
        student = tiny_student()
        decomposed = trained(student)
        assert type(expert(decomposed, 0)) is type(student)
        assert run(decomposed, images, TASKS).logits.shape == (6, 3)

    def test_an_encoder_returns_its_own_output(self) -> None:
        decomposed = trained(tiny_encoder()).eval()
        images = torch.rand(6, 3, 12, 12)
        found = run(decomposed, images, TASKS)
        alone = expert(decomposed, 2).eval()(images[TASKS == 2])
        assert isinstance(found, Output) and found.logits is None
        assert_close(found.features[TASKS == 2], alone.features)
        assert_close(found.maps[0][TASKS == 2], alone.maps[0])

    @pytest.mark.parametrize(
        "name",
        [
            "torchvision/shufflenet_v2_x0_5",
            "torchvision/resnet18",
            "timm/tf_mobilenetv3_small_minimal_100",  # convolutions that pad as TensorFlow does
            "timm/nf_regnet_b0",  # and that standardise their weights
        ],
    )
    def test_a_librarys_network_folds_to_what_it_said_in_a_mixed_batch(self, name: str) -> None:
        backbone = build_backbone(name).eval()
        decomposed = with_experts(backbone, [2, 2])
        for one in decomposed.experts:
            nn.init.normal_(one.numbers, std=0.01)
        images = torch.rand(4, 3, 33, 33)
        tasks = torch.tensor([1, 0, 0, 1])
        with torch.no_grad():
            found = run(decomposed, images, tasks)[-1]
            alone = expert(decomposed, 1)(images[tasks == 1])[-1]
            assert (alone - backbone(images[tasks == 1])[-1]).norm() > 1e-3 * alone.norm()
        assert (found[tasks == 1] - alone).norm() < 1e-5 * alone.norm()

    def test_gradients_add_up_over_the_tasks_of_a_whole_network(self) -> None:
        decomposed = trained(build_backbone("torchvision/shufflenet_v2_x0_5")).double().eval()
        images = torch.rand(6, 3, 32, 32, dtype=torch.double)

        def gradients(chosen: Tensor) -> dict[str, Tensor | None]:
            decomposed.zero_grad()
            run(decomposed, images[chosen], TASKS[chosen])[-1].square().sum().backward()
            return {name: p.grad for name, p in decomposed.named_parameters()}

        together = gradients(torch.ones(6, dtype=torch.bool))
        alone = [gradients(task == TASKS) for task in range(3)]
        for name, found in together.items():
            parts = [part[name] for part in alone if part[name] is not None]
            assert len(parts) == (1 if name.startswith("experts") else 3)
            assert_close(found, sum(parts))

    def test_a_real_one_separates_gradients(self) -> None:
        backbone = build_backbone("torchvision/shufflenet_v2_x0_5")
        decomposed = trained(backbone)
        images = torch.rand(5, 3, 32, 32)
        run(decomposed, images, torch.tensor([0, 2, 2, 0, 2]))[-1].sum().backward()
        present = [one.numbers.grad is not None for one in decomposed.experts]
        assert present == [True, False, True]
