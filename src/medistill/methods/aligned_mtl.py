"""Aligned-MTL: the components of all tasks' gradients made equally long."""

from typing import ClassVar

from torch import Tensor

from medistill.methods._aggregation import aligned_weights
from medistill.methods._surgery import GradientSurgery, gramian


class AlignedMtl(GradientSurgery):
    """Multi-task learning whose gradients are first made orthogonal and of one length, then added.

    Args:
        student: Network whose encoder is shared; its own head is left aside.
        tasks: In the order of `Batch.tasks`.
    """

    aliases: ClassVar[tuple[str, ...]] = ("aligned",)
    called: ClassVar[str] = "Aligned-MTL"
    paper: ClassVar[str] = (
        "Senushkin et al., Independent Component Alignment for Multi-Task Learning, CVPR 2023"
    )

    def combined(self, rows: Tensor) -> Tensor:
        """The sum of the aligned gradients, of the tasks that are present."""
        return aligned_weights(gramian(rows)).to(rows.device) @ rows
