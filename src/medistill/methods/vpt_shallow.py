"""Prompts before a foundation model's first block (VPT-shallow)."""

from typing import ClassVar

from medistill.methods._tuning import Count, Tuning, frozen
from medistill.models.adapters.base import Pooling
from medistill.models.adapters.shallow_prompts import ShallowPrompts
from medistill.models.networks import Student


class VptShallow(Tuning):
    """Foundation model whose tokens are joined by learnt ones before its first block.

    Args:
        student: The foundation model, a vision transformer, plain or windowed.
        prompts: How many join.
        pooling: The head reads the class token, where there is one, or the mean of the patches.
    """

    called: ClassVar[str] = "VPT-shallow"
    paper: ClassVar[str] = "Jia et al., Visual Prompt Tuning, ECCV 2022 (shallow)"

    def __init__(
        self, student: Student, *, prompts: Count = 5, pooling: Pooling = "class_token"
    ) -> None:
        encoder = ShallowPrompts(frozen(student), count=prompts, pooling=pooling)
        super().__init__(student, encoder)
