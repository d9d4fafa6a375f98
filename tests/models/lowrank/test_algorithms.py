"""All algorithms are one: equal to the loop over samples, forward and every gradient."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from medistill.models.lowrank.algorithms import (
    Work,
    chunk,
    factored,
    gather,
    mixture,
    windowed,
)
from medistill.models.lowrank.factors import Expert, Scaling
from medistill.models.lowrank.geometry import geometry_of
from medistill.models.lowrank.routing import Routing

FIXED = Scaling(16.0, "fixed")
SOME_ABSENT, RAGGED, SINGLES = [0, 2, 2, 0, 2], [0, 1, 1, 2, 2, 2, 3], [3, 1, 0]


@dataclass(frozen=True)
class Case:
    """A convolution and a batch; experts have scale 2 and the ranks that are given."""

    conv: nn.Conv2d | nn.Conv3d
    tasks: list[int]
    ranks: tuple[int, ...] = (2, 2, 2, 2)
    last: bool = False

    def __str__(self) -> str:
        layout = " channels last" if self.last else ""
        return f"{self.conv} of tasks {self.tasks}, ranks {self.ranks}{layout}"


CASES = [
    Case(nn.Conv2d(5, 6, 1), RAGGED),
    Case(nn.Conv2d(5, 6, 1, bias=False), SOME_ABSENT, last=True),
    Case(nn.Conv2d(5, 6, 1, stride=2, padding=1), RAGGED, last=True),
    Case(nn.Conv2d(5, 6, 1), [3]),
    Case(nn.Conv2d(6, 5, 3, padding=1), RAGGED),
    Case(nn.Conv2d(7, 5, 3, padding=1), RAGGED, last=True),
    Case(nn.Conv2d(7, 5, 3, stride=2, padding=1, bias=False), SOME_ABSENT, last=True),
    Case(nn.Conv2d(40, 5, 3, padding=1), RAGGED, ranks=(2, 4, 2, 6), last=True),
    Case(nn.Conv2d(5, 4, 3, dilation=2), SINGLES),
    Case(nn.Conv2d(3, 4, 7, stride=2, padding=3, bias=False), RAGGED),
    Case(nn.Conv2d(5, 4, (1, 3), padding=(0, 1)), RAGGED, last=True),
    Case(nn.Conv2d(5, 4, (3, 2)), RAGGED, ranks=(1, 3, 3, 1)),
    Case(nn.Conv2d(5, 4, 3), [1]),
    Case(nn.Conv3d(5, 4, 3, padding=1), RAGGED),
    Case(nn.Conv3d(4, 3, 3, stride=2, padding=1), SINGLES),
    Case(nn.Conv3d(4, 3, (1, 2, 3)), SOME_ABSENT, last=True),
    Case(nn.Conv3d(4, 3, 1, stride=(1, 2, 2), bias=False), RAGGED),
]


def work_of(case: Case) -> tuple[Work, list[Expert], nn.Module]:
    conv = case.conv.double()
    layer, generator = geometry_of(conv), torch.Generator().manual_seed(0)
    experts = nn.ModuleList(
        Expert([layer], rank=rank, scaling=FIXED, generator=generator) for rank in case.ranks
    ).double()
    for expert in experts:
        nn.init.normal_(expert.numbers)
    routing = Routing(experts)
    tasks = torch.tensor(case.tasks)
    with routing.to(tasks[routing.order(tasks)]):
        route = routing.route
    images = torch.randn(len(tasks), conv.in_channels, *[7, 6, 5][: conv.weight.ndim - 2])
    if case.last:
        images = images.movedim(1, -1).contiguous().movedim(-1, 1)
    images = images.double().requires_grad_()
    factors = route.factors[0]
    return Work(layer, route.teams[1], images, conv.weight, conv.bias, factors), list(experts), conv


def loop(work: Work) -> Tensor:
    """Sample by sample: the definition."""
    convolved = []
    for team, changes in zip(work.teams, work.changes, strict=True):
        for samples, own in zip(team.chunks, changes, strict=True):
            weight = work.weight + own
            convolved += [
                work.layer.convolve(one[None], weight, work.bias) for one in work.images[samples]
            ]
    return torch.cat(convolved)


def everything(algorithm, case: Case) -> dict[str, Tensor | None]:
    """The result, and the gradient of all that has one."""
    torch.manual_seed(0)
    work, experts, conv = work_of(case)
    found = algorithm(work)
    torch.manual_seed(1)
    inputs = {
        "images": work.images,
        **dict(conv.named_parameters()),
        **{f"expert {task}": expert.numbers for task, expert in enumerate(experts)},
    }
    # Not `randn_like`, which fills memory in the order of the layout
    onto = torch.randn(found.shape, dtype=torch.double)
    gradients = torch.autograd.grad(found, list(inputs.values()), onto, allow_unused=True)
    return {"found": found, **dict(zip(inputs, gradients, strict=True))}


@pytest.mark.parametrize(
    ("algorithm", "case"),
    [
        *((algorithm, case) for algorithm in (chunk, factored, windowed) for case in CASES),
        *((gather, case) for case in CASES if geometry_of(case.conv).pointwise),
    ],
    ids=lambda value: str(value) if isinstance(value, Case) else value.__name__,
)
def test_it_is_the_loop_over_samples(algorithm, case: Case) -> None:
    wanted, found = everything(loop, case), everything(algorithm, case)
    for name, tensor in wanted.items():
        if tensor is None:
            assert found[name] is None, f"{name} is absent, and has a gradient"
        else:
            assert_close(found[name], tensor, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("algorithm", [loop, chunk, factored, windowed])
def test_experts_that_are_new_change_nothing(algorithm) -> None:
    work, _, conv = work_of(CASES[5])
    blank = [(a, torch.zeros_like(b)) for a, b in work.factors]
    blank_work = Work(work.layer, work.teams, work.images, conv.weight, conv.bias, tuple(blank))
    assert_close(algorithm(blank_work), conv(work.images))


@pytest.mark.parametrize(
    ("algorithm", "case"),
    [
        (gather, CASES[1]),
        *((algorithm, case) for algorithm in (chunk, factored, windowed) for case in CASES[1:5:3]),
    ],
)
def test_images_that_need_no_gradient_get_none(algorithm, case: Case) -> None:
    work, _, conv = work_of(case)
    work.images.requires_grad_(False)
    algorithm(work).sum().backward()
    assert work.images.grad is None and conv.weight.grad.any()


@pytest.mark.parametrize(
    ("algorithm", "case"),
    [
        (gather, CASES[0]),
        (gather, CASES[2]),
        *((algorithm, CASES[at]) for algorithm in (chunk, factored, windowed) for at in (0, 5, 13)),
    ],
)
def test_half_precision_images_meet_parameters_in_full(algorithm, case: Case) -> None:
    work, experts, conv = work_of(case)
    conv.float()
    for expert in experts:
        expert.float()
    images = work.images.detach().bfloat16().requires_grad_()
    factors = tuple((a.float(), b.float()) for a, b in work.factors)
    found = algorithm(Work(work.layer, work.teams, images, conv.weight, conv.bias, factors))
    found.sum().backward()
    assert found.dtype == images.grad.dtype == torch.bfloat16
    assert conv.weight.grad.dtype == torch.float32
    # bfloat16 has 8 bits, and the factors' product is rounded once more on its way.
    assert (found.double() - loop(work)).norm() < 0.02 * loop(work).norm()
    conv.double()


@pytest.mark.parametrize("case", [CASES[0], CASES[7], CASES[13]], ids=str)
def test_a_mixture_of_one_expert_each_is_that_expert(case: Case) -> None:
    work, experts, conv = work_of(case)
    routing = Routing(nn.ModuleList(experts))
    tasks = torch.tensor(case.tasks)
    tasks = tasks[routing.order(tasks)]
    shares = nn.functional.one_hot(tasks, len(experts)).double().requires_grad_()
    with routing.to(shares):  # without a gradient it would be no mixture
        route = routing.route
    every = Work(work.layer, route.teams[1], work.images, conv.weight, conv.bias, route.factors[0])
    found = mixture(every, route.shares).detach()
    assert_close(found, loop(work).detach(), rtol=1e-10, atol=1e-10)
