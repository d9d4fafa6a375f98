"""Small methods and data on which training is tested, also in processes of their own."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.losses.collective import whole_batch
from medistill.losses.similarity import linear_cka
from medistill.losses.supervised import cross_entropy
from medistill.methods.base import Method
from medistill.methods.crd import Crd
from medistill.training.checkpoint import Checkpoint
from medistill.training.fit import Step, fit
from medistill.training.optimizers import build_optimizer
from medistill.types import Batch, Task
from tests.tiny import tiny_student, tiny_teacher


class Noise:
    """A loader of random images, the same for the same epoch; each process takes its share."""

    def __init__(self, *, batch_size: int = 8, steps: int = 3, rank: int = 0, world: int = 1):
        self.batch_size, self.steps = batch_size, steps
        self.share = slice(rank, None, world)
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int) -> Iterator[Batch]:
        self.asked.append(number)
        generator = torch.Generator().manual_seed(number)
        for step in range(self.steps):
            targets = torch.randint(3, (self.batch_size,), generator=generator)
            images = torch.rand(self.batch_size, 3, 8, 8, generator=generator)
            numbers = torch.arange(self.batch_size) + step * self.batch_size
            yield Batch(
                (images + targets.view(-1, 1, 1, 1))[self.share],
                targets[self.share],
                torch.zeros_like(targets)[self.share],
                numbers[self.share],
                torch.zeros_like(numbers)[self.share],
                torch.ones(self.batch_size)[self.share],
            )


class Pair(Method):
    """Two networks with batch norm, one to deploy; labels, and the geometry of the batch.

    No bias before a batch norm: its true gradient is 0, and AdamW would make steps of the rounding.
    """

    paper = "None"

    def __init__(self, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.student = nn.Sequential(
            nn.Conv2d(3, 6, 3, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.other = nn.Sequential(
            nn.Flatten(), nn.Linear(192, 5, bias=False), nn.BatchNorm1d(5, affine=False)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(24, 3)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        features, others = self.student(batch.images), self.other(batch.images)
        logits = self.head(self.dropout(features))
        geometry = 1 - linear_cka(whole_batch(features), whole_batch(others))
        return {
            "labels": cross_entropy(logits, batch.targets, batch.weights),
            "geometry": (1 - progress) * geometry,
        }

    def deploy(self) -> dict[str, nn.Module]:
        return {"all": nn.Sequential(self.student, self.head)}


class PrecisePair(Pair):
    """In float64: AdamW's first steps divide roundings by roundings."""

    def __init__(self) -> None:
        super().__init__()
        self.double()

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return super().losses(replace(batch, images=batch.images.double()), progress)


class Growing(Method):
    """Half-way, one expert leaves and one of another shape comes; the head stays.

    The weights change in `losses`, as the contract of `fit` allows.
    """

    paper = "None"

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.experts = nn.ParameterList([nn.Parameter(torch.ones(3, 3))])

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        if progress >= 0.5 and len(self.experts) == 1:
            self._grow()
        features = batch.images.mean((2, 3))
        for expert in self.experts:
            features = features + features @ expert @ expert.T
        return {"labels": cross_entropy(self.head(features), batch.targets, batch.weights)}

    def _grow(self) -> None:
        shapes = ((3, 1), (3, 2))
        self.experts = nn.ParameterList([nn.Parameter(torch.full(s, 0.1)) for s in shapes])

    def get_extra_state(self) -> Any:
        return {"grown": len(self.experts) == 2}

    def set_extra_state(self, state: Any) -> None:
        if state["grown"]:
            self._grow()

    def deploy(self) -> dict[str, nn.Module]:
        return {"all": self.head}


class Scripted(Method):
    """One weight, and losses that a test writes."""

    paper = "None"

    def __init__(self, script: Callable[[nn.ParameterDict, Batch, float], dict[str, Tensor]]):
        super().__init__()
        names = ("used", "unused", "sometimes")
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.ones(2)) for name in names})
        self.script = script

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return self.script(self.weights, batch, progress)

    def deploy(self) -> dict[str, nn.Module]:
        return {}


class Surgery(Pair):
    """Adds the gradients of each loss by hand, as gradient surgery does."""

    def backward(self, losses: dict[str, Tensor]) -> None:
        parameters = list(self.parameters())
        for loss in losses.values():
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    before = 0 if parameter.grad is None else parameter.grad
                    parameter.grad = before + gradient


def contrasted() -> Method:
    """A method with a memory of samples, which the processes fill together."""
    student = tiny_student()
    with torch.random.fork_rng():
        torch.manual_seed(0)  # no state holds a teacher: it is the same in every process
        teacher = tiny_teacher()
    task = Task("shapes", "classification", ("a", "b", "c"), 24)
    # Mild, so that the rounding of a step is not multiplied by the next one's exponentials.
    return Crd(student, teacher, (task,), temperature=0.5)


def plain_labels(weights: nn.ParameterDict, batch: Batch, progress: float) -> dict[str, Tensor]:
    """A loss that uses one of the weights."""
    return {"labels": F.mse_loss(weights["used"], batch.images.new_zeros(2))}


def trained(
    method: Method,
    loader: Noise,
    *,
    epochs: int = 2,
    optimizer: str = "sgd",
    resume: Checkpoint | None = None,
    on_step: Callable[[Step], object] = lambda step: None,
    **settings: Any,
) -> Method:
    """The method after training."""
    held = build_optimizer(
        optimizer,  # type: ignore[arg-type]
        method.parameters(),
        learning_rate=0.05,
        weight_decay=0.01,
        gradient_clip=settings.pop("gradient_clip", None),
    )
    for step in fit(method, loader, held, epochs=epochs, resume=resume, **settings):
        on_step(step)
    return method


def seeded(build: Callable[[], Method], seed: int = 0) -> Method:
    """A method whose weights a seed decides."""
    torch.manual_seed(seed)
    return build()


def save_until_killed(path: Path) -> None:
    """Train for long, and leave a checkpoint after each step."""
    from medistill.training.checkpoint import save_checkpoint

    method = seeded(lambda: Pair(dropout=0.5))
    trained(
        method,
        Noise(),
        epochs=1000,
        optimizer="adamw",
        on_step=lambda step: save_checkpoint(path, step.checkpoint()),
    )
