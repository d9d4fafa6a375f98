"""Prompts of their own for each block of a foundation model (VPT-deep)."""

from typing import ClassVar

from medistill.methods._tuning import Block, Count, Tuning, frozen
from medistill.models.adapters.base import Pooling
from medistill.models.adapters.deep_prompts import DeepPrompts
from medistill.models.networks import Student


class VptDeep(Tuning):
    """Foundation model in each of whose blocks learnt tokens join those of the image.

    Args:
        student: The foundation model, a vision transformer, plain or windowed.
        prompts: How many join each block.
        first_block: Blocks before it have none, and autograd remembers nothing of them.
        pooling: The head reads the class token, where there is one, or the mean of the patches.
    """

    aliases: ClassVar[tuple[str, ...]] = ("vpt",)
    called: ClassVar[str] = "VPT-deep"
    paper: ClassVar[str] = "Jia et al., Visual Prompt Tuning, ECCV 2022 (deep)"

    def __init__(
        self,
        student: Student,
        *,
        prompts: Count = 5,
        first_block: Block = 0,
        pooling: Pooling = "class_token",
    ) -> None:
        encoder = DeepPrompts(
            frozen(student), count=prompts, first_block=first_block, pooling=pooling
        )
        super().__init__(student, encoder)
