"""Multi-task learning beside a foundation model (MTL-KD)."""

from typing import ClassVar

from torch import Tensor, nn

from medistill.errors import UserError
from medistill.losses.collective import whole_batch_mean
from medistill.methods._kinds import objective_of
from medistill.methods._objectives import Imitated
from medistill.methods._settings import Temperature, Weight
from medistill.methods._words import name_of
from medistill.methods.base import Method
from medistill.models.teachers import Teacher
from medistill.types import Batch, Task


class MultiTaskDistillation(Method):
    """Encoder that learns all tasks, and whose projected features imitate the teacher's.

    Images of a task without labels are imitated all the same. Of a segmenter the masks imitate.

    Args:
        student: A classifier, whose own head is left aside, or a segmenter.
        teacher: Frozen; its pooled features, or its masks, are imitated.
        tasks: In the order of `Batch.tasks`; at least one with labels.
        temperature: Softens both features, whose dimensions are read as classes, or both masks.
            By default 10, and 1 for masks.
        imitation: Weight of the divergence from the teacher: the paper's β. By default 1, and 0.1
            for masks.
    """

    aliases: ClassVar[tuple[str, ...]] = ("mtl_kd",)
    paper: ClassVar[str] = (
        "The baseline MTL-KD of Zhou et al., "
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
        super().__init__()
        if not any(task.classes for task in tasks):
            names = ", ".join(task.name for task in tasks)
            raise UserError(
                f"{name_of(self)} needs labels, but no task has any ({names}). Add a root with "
                "classes."
            )
        imitated = Imitated(temperature=temperature)
        self.objective = objective_of(student, teacher, tasks, imitated=imitated)
        self.network = self.objective.network
        self.teacher = teacher
        self.tasks = tasks
        self.imitation = self.objective.imitation_weight if imitation is None else imitation

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Equation 9 of the paper without experts; 7 and 8 where masks are learnt."""
        output = self.network(*self.objective.inputs(batch))
        judged = self.objective.labels(output, batch)
        distance = self.objective.imitation(output, batch, self.teacher(batch))
        return {
            "labels": whole_batch_mean(judged.each, judged.weights),
            "imitation": self.imitation * distance,
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The shared network with each task's head, or asked for each task's classes."""
        return self.objective.networks([self.network] * len(self.tasks))
