"""Single-task learning (STL): a network of its own for each task."""

from typing import ClassVar

from torch import nn

from medistill.methods._apart import Apart, alike
from medistill.methods._tasks import refuse_unlabelled
from medistill.methods.multi_task import MultiTask
from medistill.types import Task


class SingleTask(Apart):
    """Networks that share nothing, one per task, trained in one run.

    Args:
        student: Each network starts as a copy of it; its own head is left aside.
        tasks: In the order of `Batch.tasks`.
    """

    aliases: ClassVar[tuple[str, ...]] = ("stl",)
    paper: ClassVar[str] = "None: the baseline of every paper on several tasks"
    volumes: ClassVar[bool] = True

    def __init__(self, student: nn.Module, tasks: tuple[Task, ...]) -> None:
        refuse_unlabelled(self, tasks)
        super().__init__([MultiTask(alike(student), (task,)) for task in tasks])
