"""What methods share that combine the gradients of tasks instead of adding their losses."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medistill.losses.collective import mean_over_processes
from medistill.methods._tasks import Heads, labelled, means_by_task, refuse_unlabelled
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.types import Batch, Task


class GradientSurgery(Method):
    """One encoder for all tasks, which goes where a rule sends it; each head follows its own task.

    Batch statistics are those of the mixed batch, whatever becomes of the gradients.

    Args:
        student: Network whose encoder is shared; its own head is left aside.
        tasks: In the order of `Batch.tasks`.
    """

    def __init__(self, student: Student, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        refuse_unlabelled(self, tasks)
        self.tasks = tasks
        self.encoder = student.encoder
        self.heads = Heads(student.width, tasks)
        self.present = [True] * len(tasks)

    @abstractmethod
    def combined(self, rows: Float[Tensor, "tasks weights"]) -> Float[Tensor, " weights"]:
        """The gradient that the encoder gets.

        Args:
            rows: Gradient of each task's loss, over the batch of all processes; zeros for a task
                that is absent from it.
        """

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Mean loss of each task over its own samples; 0 for one that is absent."""
        self.present = labelled(batch, len(self.tasks))
        each = self.heads(self.encoder(batch.images).features, batch)
        return means_by_task(each, batch, self.tasks)

    def backward(self, losses: dict[str, Tensor]) -> None:
        """One backward pass per task that is present; then the rule."""
        shared = self.shared()
        rows = self._gradients(list(losses.values()), shared)
        # An overflow of fp16 passes on, for the scaler to see and to skip the step.
        finite = bool(rows.isfinite().all())
        direction = self.combined(rows) if finite else rows.sum(0)
        parts = torch.split(direction, [parameter.numel() for parameter in shared])
        for parameter, part in zip(shared, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def deploy(self) -> dict[str, nn.Module]:
        """The shared encoder with each task's head."""
        return self.heads.on([self.encoder] * len(self.tasks))

    def shared(self) -> list[nn.Parameter]:
        """The weights that all tasks pull at."""
        return [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]

    def _gradients(self, losses: Sequence[Tensor], shared: Sequence[nn.Parameter]) -> Tensor:
        """Row by row what each task asks of the encoder; each head gets its own gradient."""
        rows = losses[0].new_zeros(len(losses), sum(parameter.numel() for parameter in shared))
        places = [place for place, there in enumerate(self.present) if there]
        # One after the other: all in one pass (`is_grads_batched`) took 1.2 times as long on a CPU,
        # for ten tasks on ShuffleNetV2, and has no rule for batch norms of several processes.
        for place in places:
            own = list(self.heads.linears[place].parameters())
            found = torch.autograd.grad(
                losses[place],
                [*shared, *own],
                retain_graph=place != places[-1],
                allow_unused=True,
                materialize_grads=True,  # where this process has none of the task's samples
            )
            rows[place] = torch.cat([gradient.flatten() for gradient in found[: len(shared)]])
            for parameter, gradient in zip(own, found[len(shared) :], strict=True):
                parameter.grad = gradient
        return mean_over_processes(rows)


def gramian(rows: Float[Tensor, "tasks weights"]) -> Float[Tensor, "tasks tasks"]:
    """Inner products of the gradients, on the CPU: what follows is small and full of questions."""
    return (rows @ rows.T).cpu()
