"""What a foundation model says of the very tasks that a student learns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.types import Task


@dataclass(frozen=True)
class Head:
    """What judges one task on the pooled features of a network.

    Args:
        classes: Which it tells apart, in the order of its rows.
        linear: A row for each.
    """

    classes: tuple[str, ...]
    linear: nn.Linear


@dataclass(frozen=True)
class Judges:
    """A teacher's heads for the tasks of a student; no module, so that none of them is trained.

    Args:
        heads: In the order of `Batch.tasks`, with None for a task that it does not judge; empty
            where it judges none.
    """

    heads: tuple[nn.Linear | None, ...] = ()

    @classmethod
    def of(cls, heads: Mapping[str, Head], tasks: Sequence[Task]) -> "Judges":
        """Those that judge the very classes of a task of that name."""
        alike = [
            task.name in heads and bool(task.classes) and heads[task.name].classes == task.classes
            for task in tasks
        ]
        return cls(
            tuple(
                heads[task.name].linear if fits else None
                for task, fits in zip(tasks, alike, strict=True)
            )
        )

    def __bool__(self) -> bool:
        return any(head is not None for head in self.heads)

    @torch.no_grad()
    def __call__(
        self, place: int, features: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch classes"] | None:
        """Logits of one task, in float32; None where it is judged by nobody.

        Args:
            place: Of the task.
            features: Pooled ones, as the teacher gives them.
        """
        head = self.heads[place] if self.heads else None
        if head is None:
            return None
        weight, bias = (each.to(features.device) for each in (head.weight, head.bias))
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(features.float(), weight, bias)


NOBODY = Judges()
