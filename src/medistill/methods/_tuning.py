"""What methods share whose student is a frozen foundation model with adapters."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from medistill.losses.supervised import cross_entropy
from medistill.methods.base import Method
from medistill.models.adapters.base import AdaptedEncoder, hold_still
from medistill.models.networks import Encoder, Student
from medistill.types import Batch

Count = Annotated[int, Field(ge=1)]
Block = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Groups of prompts among which each image chooses some of its own.

    Args:
        count: How many there are.
        chosen: How many an image chooses.
        first_block: The first block with groups; the middle one by default, 6 of 12.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    count: Count = 20
    chosen: Count = 2
    first_block: Annotated[int | None, Field(ge=0)] = None


TWENTY_GROUPS = Groups()


class Tuning(Method):
    """Adapters and a head that learn from the labels, inside a foundation model that rests.

    Args:
        student: The foundation model; its encoder is frozen, its head replaced.
        encoder: The same encoder with adapters.
    """

    family: ClassVar[Literal["any", "vit"]] = "vit"
    tunes: ClassVar[bool] = True

    def __init__(self, student: Student, encoder: AdaptedEncoder) -> None:
        super().__init__()
        self.student = Student(encoder, student.head.out_features)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels."""
        logits = self.student(batch.images).logits
        return {"labels": cross_entropy(logits, batch.targets, batch.weights)}

    def deploy(self) -> dict[str, nn.Module]:
        """The foundation model with its adapters: as large as it was, and a little more."""
        return {"all": self.student}

    def train(self, mode: bool = True) -> "Tuning":
        """Training mode for what is trained; the frozen trunk stays in evaluation mode."""
        super().train(mode)
        hold_still(self.student.encoder)
        return self


def frozen(student: Student) -> Encoder:
    """The encoder of a student, whose own weights get no gradient from now on."""
    return student.encoder.requires_grad_(False)


@torch.no_grad()
def headed(encoder: Encoder, weight: Tensor, bias: Tensor) -> Student:
    """A student with a head of these weights."""
    student = Student(encoder, len(weight))
    student.head.weight.copy_(weight)
    student.head.bias.copy_(bias)
    return student
