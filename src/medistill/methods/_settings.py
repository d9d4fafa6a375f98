"""Settings that more than one method has, with the values that make sense."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field
from torch import nn

from medistill.models.reprogramming import reprogramming
from medistill.models.teachers import Teacher

Temperature = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of the terms of RD beside the student's own loss, which has 1.

    Args:
        reprogrammed: Of the loss of the reprogrammed teacher on the labels; constant.
        logits: Of the imitation of the reprogrammed teacher's predictions, at the beginning.
        geometry: Of the alignment of both features, at the beginning.
        faded_to: Share of `logits` and `geometry` that is left at the end of the training.
        rising: Share of the training in which `logits` and `geometry` come in, so that the
            reprogramming has learnt something before it teaches; the paper's is 0.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    reprogrammed: Weight = 1.0
    logits: Weight = 1.0
    geometry: Weight = 1.0
    faded_to: Share = 0.0
    rising: Share = 0.0


@dataclass(frozen=True, kw_only=True)
class Reprogramming:
    """The network φ that carries a teacher's features into the student's space.

    The paper gives none of these; see `models.reprogramming` for what they cost.

    Args:
        blocks: How many residual blocks.
        bottleneck: Whether each block works at half the width inside.
        dropout: Share of the teacher's channels left out at the entrance, against overfitting.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    blocks: Annotated[int, Field(ge=1)] = 2
    bottleneck: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def build(self, teacher: Teacher, width: int) -> nn.Module:
        """A new φ from this teacher's output to pooled features of a width."""
        # A tuned teacher's features may be longer than its maps are wide.
        channels = teacher.map_shape[0] if teacher.map_shape else teacher.width
        return reprogramming(
            channels,
            teacher.map_shape,
            width,
            blocks=self.blocks,
            bottleneck=self.bottleneck,
            dropout=self.dropout,
        )


PAPER_WEIGHTS = Weights()
TWO_BLOCKS = Reprogramming()
