"""Optimisers, and learning rates as pure functions of the step, so that a resume needs no more."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

# From (finished steps, all steps) to the share of the learning rate that the next step takes.
Schedule = Callable[[int, int], float]


class NonFinite(ArithmeticError):
    """Something is NaN or infinite, and was found before it touched the weights.

    Args:
        term: What it is: a loss by its name, or the gradient.
    """

    def __init__(self, term: str) -> None:
        super().__init__(term)
        self.term = term


def build_optimizer(
    name: Literal["adamw", "sgd"],
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    gradient_clip: float | None = None,
) -> Optimizer:
    """An optimiser over parameters that all obey the same settings, as in the papers.

    Args:
        name: `adamw`, or `sgd` with momentum 0.9.
        parameters: All of a method's parameters, the frozen ones too: they never get a gradient.
        learning_rate: Its peak; the schedule of `fit` takes shares of it.
        weight_decay: Decoupled in AdamW, added to the gradient in SGD.
        gradient_clip: Largest norm of the gradient of all parameters together; None for no bound.
    """
    optimizer: Optimizer
    if name == "adamw":
        optimizer = AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    else:
        optimizer = SGD(parameters, lr=learning_rate, momentum=0.9, weight_decay=weight_decay)
    if gradient_clip is not None:
        # Before the optimiser's step and after the scaler's, so that fp16 needs no case of its own.
        optimizer.register_step_pre_hook(partial(_clip, largest=gradient_clip))
    return optimizer


def build_schedule(name: Literal["constant", "cosine"], *, warm_up: int = 0) -> Schedule:
    """The schedule of a name.

    Args:
        name: `constant`, or `cosine`: half a period, from 1 down to 0.
        warm_up: Steps of linear growth before it.
    """
    return partial({"constant": constant, "cosine": cosine}[name], warm_up=warm_up)


def constant(step: int, steps: int, *, warm_up: int = 0) -> float:
    """The whole learning rate, after a linear warm-up."""
    return min(1.0, (step + 1) / (warm_up + 1))


def cosine(step: int, steps: int, *, warm_up: int = 0) -> float:
    """Half a period of the cosine, from 1 down to 0, after a linear warm-up."""
    if step < warm_up:
        return constant(step, steps, warm_up=warm_up)
    return (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))) / 2


def repeated(schedule: Schedule, stages: int) -> Schedule:
    """The schedule from its beginning in each of several stages of equal length."""

    def share(step: int, steps: int) -> float:
        length = steps // stages
        return schedule(step % length, length)

    return share


def follow(optimizer: Optimizer, method: nn.Module) -> bool:
    """Let an optimiser hold exactly the parameters of a method, in the method's order.

    New parameters join the first group without any state, removed ones leave with theirs, the
    others keep their own. The order makes an optimiser's saved state fit a method that was rebuilt.

    Returns:
        Whether there was anything to change.
    """
    wanted = list(method.parameters())
    groups = optimizer.param_groups
    held = [parameter for group in groups for parameter in group["params"]]
    if list(map(id, held)) == list(map(id, wanted)):
        return False
    home = {id(parameter): i for i, group in enumerate(groups) for parameter in group["params"]}
    for i, group in enumerate(groups):
        group["params"] = [parameter for parameter in wanted if home.get(id(parameter), 0) == i]
    for parameter in {*held} - {*wanted}:
        optimizer.state.pop(parameter, None)
    return True


def _clip(optimizer: Optimizer, args: Any, settings: Any, *, largest: float) -> None:
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, largest)
    if not norm.isfinite():
        raise NonFinite("gradient")
