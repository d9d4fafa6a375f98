"""Each sample through its own expert, forward and backward: methods.md §4.3, (1), (3) and (4)."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.models.lowrank.experts import Decomposed, expert, with_experts
from tests.models.lowrank.made import TASKS, network, run, trained


class TestForward:
    def test_a_mixed_batch_is_what_each_expert_says_alone(self, images: Tensor) -> None:
        decomposed = trained(network()).eval()
        found = run(decomposed, images, TASKS)
        for sample, task in enumerate(TASKS.tolist()):
            alone = expert(decomposed, task).eval()(images[sample : sample + 1])
            assert_close(found[sample : sample + 1], alone, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_order_and_layout_of_a_batch_do_not_matter(self, layout, images: Tensor) -> None:
        decomposed = trained(network()).eval().to(memory_format=layout)
        order = decomposed.routing.order(TASKS)
        mixed = run(decomposed, images.contiguous(memory_format=layout), TASKS)
        sorted_ = run(decomposed, images[order], TASKS[order])
        assert_close(mixed[order], sorted_, rtol=1e-5, atol=1e-5)

    def test_shares_of_one_expert_are_that_expert(self, images: Tensor) -> None:
        decomposed = trained(network()).eval()
        shares = F.one_hot(TASKS, 3).float().requires_grad_()  # without, it is no mixture
        wanted = run(decomposed, images, TASKS)
        assert_close(run(decomposed, images, shares), wanted, rtol=1e-5, atol=1e-5)

    def test_half_of_two_experts_is_a_network_of_its_own(self, images: Tensor) -> None:
        decomposed = trained(network()).eval()
        halves = torch.tensor([0.5, 0.5, 0.0]).expand(6, 3)
        blend = expert(decomposed, None).eval()
        for place, layer in enumerate(m for m in blend if hasattr(m, "groups") and m.groups == 1):
            changes = [one.change(place) for one in decomposed.experts]
            layer.weight.data += 0.5 * changes[0] + 0.5 * changes[1]
        assert_close(run(decomposed, images, halves), blend(images), rtol=1e-5, atol=1e-5)

    def test_a_gradient_reaches_the_shares(self, images: Tensor) -> None:
        shares = torch.full((6, 3), 1 / 3, requires_grad=True)
        run(trained(network()), images, shares).square().sum().backward()
        assert shares.grad.any()

    def test_outside_the_routing_a_layer_refuses(self, images: Tensor) -> None:
        with pytest.raises(RuntimeError, match="outside"):
            trained(network())(images)

    def test_autocast_computes_in_half_and_learns_in_full(self, images: Tensor) -> None:
        decomposed = trained(network())
        with torch.autocast("cpu", torch.bfloat16):
            found = run(decomposed, images, TASKS)
        found.float().square().sum().backward()
        assert found.dtype == torch.bfloat16
        assert {p.grad.dtype for p in decomposed.parameters()} == {torch.float32}
        exact = run(decomposed, images, TASKS)
        assert (found - exact).norm() < 0.05 * exact.norm()  # bfloat16 has 8 bits

    def test_a_convolution_that_does_more_goes_through_its_own_forward(
        self, images: Tensor
    ) -> None:
        class Standardised(nn.Conv2d):
            def forward(self, images: Tensor) -> Tensor:
                weight = (self.weight - self.weight.mean()) / self.weight.std()
                return F.conv2d(images, weight, self.bias)

        decomposed = trained(Standardised(3, 4, 3))
        found = run(decomposed, images, TASKS)
        for sample, task in enumerate(TASKS.tolist()):
            assert_close(found[sample], expert(decomposed, task)(images)[sample])
        shares = F.one_hot(TASKS, 3).float().requires_grad_()
        assert_close(run(decomposed, images, shares), found)

    @pytest.mark.parametrize("kernel", [1, 3])
    @pytest.mark.parametrize("tasks", [TASKS[:3], TASKS[:1], torch.tensor([1, 1, 1])], ids=str)
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_what_follows_may_work_in_place(self, kernel: int, tasks: Tensor, layout) -> None:
        def made(inplace: bool) -> tuple[Tensor, Tensor]:
            torch.manual_seed(0)
            net = nn.Sequential(nn.Conv2d(8, 4, kernel), nn.ReLU(inplace), nn.Conv2d(4, 4, kernel))
            decomposed = trained(net)
            images = torch.rand(len(tasks), 8, 9, 9).contiguous(memory_format=layout)
            found = run(decomposed, images, tasks)
            (found * torch.arange(9 - 2 * (kernel - 1))).sum().backward()
            return found, decomposed.shared[0].conv.weight.grad

        assert_close(made(True), made(False))

    def test_volumes_are_convolved_likewise(self) -> None:
        net = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1))
        decomposed = trained(net)
        volumes = torch.rand(6, 2, 4, 5, 3)
        found = run(decomposed, volumes, TASKS)
        for task in range(3):
            mine = task == TASKS
            alone = expert(decomposed, task)(volumes[mine])
            assert_close(found[mine], alone, rtol=1e-5, atol=1e-5)


class TestGradients:
    """§4.3, (4)."""

    def test_an_absent_expert_has_none(self, images: Tensor) -> None:
        decomposed = trained(network())
        run(decomposed, images, torch.tensor([2, 0, 0, 2, 2, 0])).sum().backward()
        present = [one.numbers.grad is not None for one in decomposed.experts]
        assert present == [True, False, True]
        assert all(p.grad is not None for p in decomposed.shared.parameters())

    def test_without_tasks_no_expert_has_one(self, images: Tensor) -> None:
        decomposed = trained(network())
        run(decomposed, images, None).sum().backward()
        assert all(one.numbers.grad is None for one in decomposed.experts)

    def test_those_of_the_shared_weights_add_up_over_the_tasks(self, images: Tensor) -> None:
        decomposed = trained(network()).double().eval()
        images = images.double()
        together = self.of_shared(decomposed, images, TASKS)
        alone = [
            self.of_shared(decomposed, images[task == TASKS], TASKS[task == TASKS])
            for task in range(3)
        ]
        for found, *parts in zip(together, *alone, strict=True):
            assert_close(found, sum(parts))

    def test_an_expert_learns_from_its_own_samples_alone(self, images: Tensor) -> None:
        decomposed = trained(network()).double().eval()
        images = images.double()
        run(decomposed, images, TASKS).square().sum().backward()
        together = decomposed.experts[2].numbers.grad.clone()
        decomposed.zero_grad()
        run(decomposed, images[TASKS == 2], TASKS[TASKS == 2]).square().sum().backward()
        assert_close(decomposed.experts[2].numbers.grad, together)

    def test_at_first_only_the_second_factors_move(self, images: Tensor) -> None:
        decomposed = with_experts(network(), [2, 2, 2])
        run(decomposed, images, TASKS).sum().backward()
        sizes = [layer.factors(2) for layer in decomposed.layers]
        a = sum(rows * columns for (rows, columns), _ in sizes)
        for one in decomposed.experts:
            assert not one.numbers.grad[:a].any() and one.numbers.grad[a:].any()

    @staticmethod
    def of_shared(decomposed: Decomposed, images: Tensor, tasks: Tensor) -> list[Tensor]:
        decomposed.zero_grad()
        run(decomposed, images, tasks).square().sum().backward()
        return [p.grad.clone() for p in decomposed.shared.parameters()]
