"""PCGrad: gradients that contradict each other are projected."""

from typing import ClassVar

import torch
from torch import Tensor

from medistill.methods._aggregation import conflict_free_weights
from medistill.methods._surgery import GradientSurgery, gramian
from medistill.models.networks import Student
from medistill.types import Task


class Pcgrad(GradientSurgery):
    """Multi-task learning whose gradients lose what points against another task's.

    Args:
        student: Network whose encoder is shared; its own head is left aside.
        tasks: In the order of `Batch.tasks`.
    """

    called: ClassVar[str] = "PCGrad"
    paper: ClassVar[str] = "Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020"

    seed: Tensor

    def __init__(self, student: Student, tasks: tuple[Task, ...]) -> None:
        super().__init__(student, tasks)
        # The orders are random, but a resume and every process must draw the same.
        self.register_buffer("seed", torch.randint(2**31, ()))

    def combined(self, rows: Tensor) -> Tensor:
        """The sum of the projected gradients; each task meets the others in an order of its own."""
        generator = torch.Generator().manual_seed(int(self.seed))
        self.seed += 1
        orders = [torch.randperm(len(rows), generator=generator) for _ in rows]
        return conflict_free_weights(gramian(rows), torch.stack(orders)).to(rows.device) @ rows
