"""Networks with experts that change something, for the tests beside this file."""

import torch
from torch import Tensor, nn

from medistill.models.lowrank.experts import Decomposed, with_experts

TASKS = torch.tensor([2, 0, 1, 2, 2, 0])


def network() -> nn.Module:
    """With every kind of layer that experts meet, or pass over."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),  # depthwise: no expert
        nn.Conv2d(8, 12, 1, bias=False),
        nn.Conv2d(12, 6, 3, stride=2, padding="valid"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),  # nor here
    )


def trained(net: nn.Module, experts: int = 3, **settings) -> Decomposed:
    """With experts that change something."""
    decomposed = with_experts(net, [2] * experts, alpha=1.0, **settings)
    for one in decomposed.experts:
        nn.init.normal_(one.numbers, std=0.3)
    return decomposed


def run(decomposed: Decomposed, images: Tensor, tasks: Tensor | None) -> Tensor:
    with decomposed.routing.to(tasks):
        return decomposed(images)
