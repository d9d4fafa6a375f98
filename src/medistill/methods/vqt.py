"""Query tokens that ask each block of a foundation model (VQT)."""

from typing import Annotated, ClassVar

from pydantic import Field

from medistill.methods._tuning import Block, Count, Tuning, frozen
from medistill.models.adapters.base import Pooling
from medistill.models.adapters.query_tokens import QueryTokens
from medistill.models.networks import Student


class Vqt(Tuning):
    """Foundation model left exactly as it is, and a head on what learnt queries find in its blocks.

    Args:
        student: The foundation model, a vision transformer, plain or windowed.
        queries: How many tokens ask each block.
        dropout: Share of their values left out in training.
        first_block: Blocks before it are not asked.
        pooling: The head also reads the class token, where there is one, or the mean patch.
    """

    paper: ClassVar[str] = (
        "Tu et al., Visual Query Tuning: Towards Effective Usage of Intermediate Representations "
        "for Parameter and Memory Efficient Transfer Learning, CVPR 2023"
    )

    def __init__(
        self,
        student: Student,
        *,
        queries: Count = 1,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        first_block: Block = 0,
        pooling: Pooling = "class_token",
    ) -> None:
        encoder = QueryTokens(
            frozen(student),
            count=queries,
            dropout=dropout,
            first_block=first_block,
            pooling=pooling,
        )
        super().__init__(student, encoder)
