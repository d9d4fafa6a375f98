"""Single-task learning beside a foundation model (STL-KD)."""

from typing import ClassVar

from medistill.methods._apart import Apart, alike
from medistill.methods._settings import Temperature, Weight
from medistill.methods._tasks import refuse_unlabelled
from medistill.methods.multi_task_distillation import MultiTaskDistillation
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Task


class SingleTaskDistillation(Apart):
    """Networks that share nothing but their teacher, one per task, trained in one run.

    Args:
        student: Each network starts as a copy of it; its own head is left aside.
        teacher: Frozen; its pooled features are imitated.
        tasks: In the order of `Batch.tasks`.
        temperature: Softens both features, whose dimensions are read as classes.
        imitation: Weight of the divergence from the teacher's features: the paper's β.
    """

    aliases: ClassVar[tuple[str, ...]] = ("stl_kd",)
    paper: ClassVar[str] = (
        "The baseline STL-KD of Zhou et al., "
        "Low-Rank Knowledge Decomposition for Medical Foundation Models, CVPR 2024"
    )

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        tasks: tuple[Task, ...],
        *,
        temperature: Temperature = 10.0,
        imitation: Weight = 1.0,
    ) -> None:
        refuse_unlabelled(self, tasks)
        settings = {"temperature": temperature, "imitation": imitation}
        super().__init__(
            [MultiTaskDistillation(alike(student), teacher, (task,), **settings) for task in tasks]
        )
