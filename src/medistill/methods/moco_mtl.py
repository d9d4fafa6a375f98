"""MoCo-MTL: multi-objective descent along gradients that are tracked over the steps."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from medistill.losses.collective import mean_over_processes
from medistill.methods._aggregation import onto_simplex
from medistill.methods._settings import Share, Weight
from medistill.methods._surgery import GradientSurgery
from medistill.models.networks import Student
from medistill.types import Batch, Task


def _softmax(point: Tensor) -> Tensor:
    return point.softmax(0)


ONTO = {"projection": onto_simplex, "softmax": _softmax}


class MocoMtl(GradientSurgery):
    """Multi-task learning along tracked gradients, whose weights move towards the shortest sum.

    The gradients of mixed batches are noisy, and the shortest combination of noisy rows is biased:
    so each row is an average over the steps, and the weights take a small step at a time. A task
    that is absent from a batch keeps its row. LibMTL's variant has `simplex: softmax` and
    `normalised: true`; its weights tend to be equal.

    Args:
        student: Network whose encoder is shared; its own head is left aside.
        tasks: In the order of `Batch.tasks`.
        tracking: Share of the new gradient in a row, in the first step: β of the paper.
        weighting: Step of the weights, in the first step: γ.
        decay: In step k both are divided by k to this power.
        regularisation: Draws the weights together: ρ.
        simplex: How weights are brought back to sum to 1.
        normalised: Whether a gradient is first brought to the length of its loss.
    """

    aliases: ClassVar[tuple[str, ...]] = ("moco",)
    called: ClassVar[str] = "MoCo-MTL"
    paper: ClassVar[str] = (
        "Fernando et al., Mitigating Gradient Bias in Multi-objective Learning, ICLR 2023"
    )

    tracked: Tensor
    weights: Tensor
    step: Tensor

    def __init__(
        self,
        student: Student,
        tasks: tuple[Task, ...],
        *,
        tracking: Annotated[float, Field(gt=0, le=1)] = 0.5,
        weighting: Weight = 0.1,
        decay: Share = 0.5,
        regularisation: Weight = 0.0,
        simplex: Literal["projection", "softmax"] = "projection",
        normalised: bool = False,
    ) -> None:
        super().__init__(student, tasks)
        self.tracking = tracking
        self.weighting = weighting
        self.decay = decay
        self.regularisation = regularisation
        self.onto = ONTO[simplex]
        self.normalised = normalised
        self.values = torch.zeros(len(tasks))
        self.scale = torch.ones(())
        size = sum(parameter.numel() for parameter in self.shared())
        self.register_buffer("tracked", torch.zeros(len(tasks), size))
        self.register_buffer("weights", torch.full((len(tasks),), 1 / len(tasks)))
        self.register_buffer("step", torch.zeros(()))

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Mean loss of each task over its own samples; 0 for one that is absent."""
        found = super().losses(batch, progress)
        self.values = torch.stack([loss.detach() for loss in found.values()])
        return found

    def backward(self, losses: dict[str, Tensor]) -> None:
        """One backward pass per task; the loss scaling of fp16 changes, and is not tracked."""
        scaled = torch.stack([loss.detach() for loss in losses.values()])
        self.values, scaled = mean_over_processes(torch.stack([self.values, scaled]))
        total = self.values.sum()
        self.scale = torch.where(total > 0, scaled.sum() / total, 1)
        super().backward(losses)

    @torch.no_grad()
    def combined(self, rows: Tensor) -> Tensor:
        """y <- y - β(y - g);  λ <- Π(λ - γ(YYᵀ + ρI)λ);  Σ λ_t y_t."""
        rows = rows / self.scale
        present = rows.any(1)
        if self.normalised:
            lengths = rows.norm(dim=1).where(present, 1)
            rows = rows * (self.values / lengths)[:, None]
        self.step += 1
        falling = self.step**-self.decay
        self.tracked.lerp_(rows, (self.tracking * falling * present)[:, None])
        slopes = self.tracked @ (self.weights @ self.tracked) + self.regularisation * self.weights
        self.weights.copy_(self.onto(self.weights - self.weighting * falling * slopes))
        return self.scale * (self.weights @ self.tracked)
