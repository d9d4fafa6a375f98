"""Counts of parameters without memory: methods.md §8.1."""

from collections.abc import Callable

import torch

from medistill.methods.base import Method
from medistill.models.backbones.base import build_backbone
from medistill.models.networks import Encoder, Student
from medistill.types import Task

SHUFFLENET = "torchvision/shufflenet_v2_x1_0"


def tasks_of(count: int) -> tuple[Task, ...]:
    """As many tasks of two classes."""
    return tuple(Task(f"t{i}", "classification", ("a", "b"), 8) for i in range(count))


def on_meta(build: Callable[[Student], Method]) -> Method:
    """A method on the paper's student, as shapes alone."""
    with torch.device("meta"):
        return build(Student(Encoder(build_backbone(SHUFFLENET)), 2))


def parameters(method: Method, *, without: tuple[str, ...] = ()) -> int:
    """How many numbers a method trains, children of some names left out."""
    return sum(
        parameter.numel()
        for name, parameter in method.named_parameters()
        if not {*without} & {*name.split(".")}
    )
