"""Low-rank updates of a foundation model's attention (LoRA; MeLo on medical ViTs)."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from medistill.methods._tuning import Block, Count, Tuning, frozen, headed
from medistill.models.adapters.low_rank import LowRank
from medistill.models.networks import Student


class Lora(Tuning):
    """Foundation model whose queries and values learn updates of low rank; deployed without them.

    Args:
        student: The foundation model, a vision transformer.
        rank: Of the updates.
        alpha: They are scaled by alpha / rank, a real number.
        first_block: Blocks before it stay as they are, and autograd remembers nothing of them.
    """

    aliases: ClassVar[tuple[str, ...]] = ("melo",)
    called: ClassVar[str] = "LoRA"
    paper: ClassVar[str] = (
        "Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022; on ViTs "
        "Zhu et al., MeLo: Low-rank Adaptation is Better than Fine-tuning for Medical Image "
        "Diagnosis, ISBI 2024"
    )

    def __init__(
        self,
        student: Student,
        *,
        rank: Count = 4,
        alpha: Annotated[float, Field(gt=0)] = 4.0,
        first_block: Block = 0,
    ) -> None:
        encoder = LowRank(frozen(student), rank=rank, alpha=alpha, first_block=first_block)
        super().__init__(student, encoder)

    def deploy(self) -> dict[str, nn.Module]:
        """The plain foundation model, the updates added to its weights."""
        encoder, head = self.student.encoder, self.student.head
        assert isinstance(encoder, LowRank)
        return {"all": headed(encoder.merged(), head.weight, head.bias)}
