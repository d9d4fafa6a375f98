"""The decision follows what was measured; see `docs/evidence/experts.md`."""

import pytest
import torch
from torch import nn

from medistill.models.lowrank.algorithms import chunk, factored, gather, windowed
from medistill.models.lowrank.choice import choose
from medistill.models.lowrank.geometry import geometry_of
from medistill.models.lowrank.routing import Run, Team

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def teams(tasks: int, samples: int) -> list[Team]:
    """As many tasks, with as many samples each."""
    return [Team(tuple(range(tasks)), (Run(tasks, samples),), 0, 2.0)]


def edges(conv: nn.Conv2d, edge: int) -> tuple[int, ...]:
    return (edge,) * (conv.weight.ndim - 2)


@pytest.mark.parametrize(
    ("conv", "edge", "tasks", "samples", "fastest"),
    [
        (nn.Conv2d(58, 58, 1), 8, 32, 2, gather),  # 3.6 ms against 5.0
        (nn.Conv2d(58, 58, 1), 28, 4, 8, gather),  # 10.8 ms against 28.5
        (nn.Conv2d(116, 116, 1), 14, 32, 1, gather),  # 11.0 ms against 17.9
        (nn.Conv2d(116, 116, 1), 4, 32, 2, factored),  # 5.4 ms against 3.9
        (nn.Conv2d(232, 232, 1), 2, 10, 6, factored),  # 16 ms against 2.4
        (nn.Conv2d(464, 1024, 1), 7, 4, 8, factored),  # 193 ms against 72
        (nn.Conv2d(3, 24, 3, 2, 1), 64, 32, 2, chunk),
        (nn.Conv2d(64, 64, 3, 1, 1), 16, 32, 2, chunk),  # 66 ms against 103
        (nn.Conv2d(128, 128, 3, 1, 1), 8, 32, 2, factored),  # 103 ms against 75
        (nn.Conv2d(256, 256, 3, 1, 1), 4, 4, 16, factored),  # 87 ms against 62
        (nn.Conv2d(512, 512, 3, 1, 1), 2, 4, 16, windowed),  # 293 ms, 123, and 60
        (nn.Conv3d(512, 512, 3, 1, 1), 2, 32, 1, windowed),  # 281 ms against 407
        (nn.Conv3d(256, 256, 3, 1, 1), 4, 32, 1, factored),  # 649 ms, 384, and 507
        (nn.Conv3d(64, 64, 3, 1, 1), 16, 8, 1, chunk),  # 333 ms against 561
    ],
)
def test_the_fastest_that_was_measured_runs(conv, edge, tasks, samples, fastest) -> None:
    chosen = choose(geometry_of(conv), edges(conv, edge), teams(tasks, samples), CPU)
    assert chosen is fastest


def test_more_samples_of_each_task_make_building_weights_worthwhile() -> None:
    layer = geometry_of(nn.Conv2d(128, 128, 3, 1, 1))
    found = [choose(layer, (8, 8), teams(8, samples), CPU) for samples in (1, 4, 16, 64)]
    assert found == [factored, factored, chunk, chunk]


def test_a_gpu_gets_what_makes_few_calls() -> None:
    layer = geometry_of(nn.Conv2d(128, 128, 3, 1, 1))
    assert choose(layer, (8, 8), teams(32, 2), GPU) is windowed
    assert choose(layer, (8, 8), teams(2, 64), GPU) is chunk
