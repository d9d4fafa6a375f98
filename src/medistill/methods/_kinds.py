"""Which objective serves tasks of which kind; what a kind needs is imported only for it."""

from collections.abc import Sequence

from torch import nn

from medistill.errors import UserError
from medistill.methods._classifying import Classifying
from medistill.methods._objectives import AS_PROPOSED, PLAIN_LABELS, Imitated, Labels, Objective
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Task


def objective_of(
    student: nn.Module,
    teacher: Teacher | None,
    tasks: Sequence[Task],
    *,
    imitated: Imitated = AS_PROPOSED,
    labels: Labels = PLAIN_LABELS,
) -> Objective:
    """The objective for the kind of these tasks.

    Args:
        student: A classifier's student, or a segmenter.
        teacher: What is imitated; None where nothing is.
        tasks: In the order of `Batch.tasks`.
        imitated: How the teacher is imitated.
        labels: How they are learnt.

    Raises:
        UserError: The tasks are of several kinds, or none has labels.
    """
    if _kind_of(tasks) == "segmentation":
        from medistill.methods._segmenting import Segmenting
        from medistill.models.segmenters.base import Segmenter

        assert isinstance(student, Segmenter)
        return Segmenting(student, tasks, imitated=imitated, labels=labels)
    assert isinstance(student, Student)
    return Classifying(student, teacher, tasks, imitated=imitated, labels=labels)


def _kind_of(tasks: Sequence[Task]) -> str:
    """Of what kind their labels are."""
    kinds = {task.kind for task in tasks if task.kind != "unlabelled"}
    if len(kinds) != 1:
        names = ", ".join(f"{task.name}: {task.kind}" for task in tasks)
        raise UserError(
            f"One network learns labels of one kind, but the roots are of another number of kinds "
            f"({names}). Leave some out, or add one with labels."
        )
    return kinds.pop()
