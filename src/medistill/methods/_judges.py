"""What methods that imitate predictions share: a teacher that judges the student's classes."""

from torch import Tensor

from medistill.errors import UserError
from medistill.methods._words import name_of
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Batch


def judged_classes(method: Method, student: Student, teacher: Teacher) -> int:
    """How many classes student and teacher judge.

    Args:
        method: Who asks.
        student: Its head says how many there are.
        teacher: Refused unless it judges as many.
    """
    classes = student.head.out_features
    if teacher.classes != classes:
        known = "gives features alone" if teacher.classes is None else f"has {teacher.classes}"
        raise UserError(
            f"{name_of(method)} needs a teacher that judges the student's {classes} classes, "
            f"but it {known}. Fit a probe on it."
        )
    return classes


def judgement(teacher: Teacher, batch: Batch) -> Tensor:
    """The logits of a teacher that was not refused."""
    logits = teacher(batch).logits
    assert logits is not None, "the teacher's `classes` promised logits"
    return logits
