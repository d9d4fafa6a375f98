"""Single-task learning beside a foundation model (STL-KD)."""

from typing import ClassVar

from torch import nn

from medistill.methods._apart import Apart, alike
from medistill.methods._settings import Temperature, Weight
from medistill.methods._tasks import refuse_unlabelled
from medistill.methods.multi_task_distillation import MultiTaskDistillation
from medistill.models.teachers import Teacher
from medistill.types import Task


class SingleTaskDistillation(Apart):
    """Networks that share nothing but their teacher, one per task, trained in one run.

    Args:
        student: Each network starts as a copy of it; its own head is left aside.
        teacher: Frozen; its pooled features, or its masks, are imitated.
        tasks: In the order of `Batch.tasks`.
        temperature: Softens both features, whose dimensions are read as classes, or both masks.
            By default 10, and 1 for masks.
        imitation: Weight of the divergence from the teacher: the paper's β. By default 1, and 0.1
            for masks.
    """

    aliases: ClassVar[tuple[str, ...]] = ("stl_kd",)
    paper: ClassVar[str] = (
        "The baseline STL-KD of Zhou et al., "
        "Low-Rank Knowledge Decomposition for Medical Foundation Models, CVPR 2024"
    )
    volumes: ClassVar[bool] = True

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        tasks: tuple[Task, ...],
        *,
        temperature: Temperature | None = None,
        imitation: Weight | None = None,
    ) -> None:
        refuse_unlabelled(self, tasks)
        super().__init__(
            [
                MultiTaskDistillation(
                    alike(student), teacher, (task,), temperature=temperature, imitation=imitation
                )
                for task in tasks
            ]
        )
