"""The whole foundation model trained on the labels: what tuning a little of it is measured by."""

from typing import ClassVar

from medistill.methods.student_alone import StudentAlone


class FullFineTuning(StudentAlone):
    """Foundation model all of whose weights learn from the labels, and which is deployed whole.

    It asks for a smaller learning rate than a small student: 1e-4 or less.

    Args:
        student: The foundation model, of any architecture.
    """

    aliases: ClassVar[tuple[str, ...]] = ("fine_tuning",)
    tunes: ClassVar[bool] = True
    paper: ClassVar[str] = "None: the reference of every paper on parameter-efficient tuning"
