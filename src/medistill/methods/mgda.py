"""MGDA: the direction in which no task loses."""

from typing import ClassVar

from torch import Tensor

from medistill.methods._aggregation import shortest_weights
from medistill.methods._surgery import GradientSurgery, gramian


class Mgda(GradientSurgery):
    """Multi-task learning along the shortest convex combination of the tasks' gradients.

    Args:
        student: Network whose encoder is shared; its own head is left aside.
        tasks: In the order of `Batch.tasks`.
    """

    called: ClassVar[str] = "MGDA"
    paper: ClassVar[str] = (
        "Sener and Koltun, Multi-Task Learning as Multi-Objective Optimization, NeurIPS 2018"
    )

    def combined(self, rows: Tensor) -> Tensor:
        """The shortest combination of the tasks that are present: a row of zeros would be it."""
        return shortest_weights(gramian(rows)).to(rows.device) @ rows
