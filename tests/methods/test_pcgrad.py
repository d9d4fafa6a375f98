"""PCGrad."""

import torch
from torch import Tensor

from medistill.methods.pcgrad import Pcgrad
from tests.tiny import tiny_student, tiny_tasks

ROWS = torch.tensor([[1.0, 0.2], [-1.0, 0.5], [0.1, -1.0]])


def directions(method: Pcgrad, count: int) -> Tensor:
    return torch.stack([method.combined(ROWS) for _ in range(count)])


def test_every_step_draws_other_orders_and_a_resume_the_same() -> None:
    method = Pcgrad(tiny_student(), tiny_tasks())
    before = method.state_dict()["seed"].clone()
    first = directions(method, 8)
    assert len({tuple(row.tolist()) for row in first}) > 1
    method.seed.copy_(before)
    torch.manual_seed(5)  # what else is random does not matter
    assert torch.equal(directions(method, 8), first)


def test_another_training_seed_draws_other_orders() -> None:
    seeds = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        seeds.add(Pcgrad(tiny_student(), tiny_tasks()).seed.item())
    assert len(seeds) == 2
