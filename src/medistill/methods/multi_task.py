"""Plain multi-task learning (MTL): one network for all tasks, and a head for each."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.losses.collective import whole_batch_mean
from medistill.methods._kinds import objective_of
from medistill.methods._tasks import refuse_unlabelled
from medistill.methods.base import Method
from medistill.types import Batch, Task


class MultiTask(Method):
    """Encoder that learns all tasks together from mixed batches, with one head per task.

    A segmenter has no heads: it is asked for the classes of each task, and so may teach others.

    Args:
        student: A classifier, whose own head is left aside, or a segmenter.
        tasks: In the order of `Batch.tasks`.
    """

    aliases: ClassVar[tuple[str, ...]] = ("mtl",)
    paper: ClassVar[str] = "Caruana, Multitask Learning, Machine Learning 1997"
    volumes: ClassVar[bool] = True

    def __init__(self, student: nn.Module, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        refuse_unlabelled(self, tasks)
        self.objective = objective_of(student, None, tasks)
        self.network = self.objective.network
        self.tasks = tasks

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Loss of each sample as its task asks: Σ (n_t / B) L_t over the tasks."""
        output = self.network(*self.objective.inputs(batch))
        judged = self.objective.labels(output, batch)
        return {"labels": whole_batch_mean(judged.each, judged.weights)}

    def deploy(self) -> dict[str, nn.Module]:
        """The shared network with each task's head, or asked for each task's classes."""
        return self.objective.networks([self.network] * len(self.tasks))
