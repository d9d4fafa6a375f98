"""Distillation of one hint in the middle of the network (FitNet)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from medistill.losses.collective import whole_batch_mean
from medistill.losses.precision import at_least_float32
from medistill.losses.supervised import cross_entropy
from medistill.methods._maps import Shape, required_maps
from medistill.methods._settings import Weight
from medistill.methods._words import advise_if_heavy
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.scales import STAGES, at_one_size, paired
from medistill.models.teachers import Teacher
from medistill.types import Batch


class Hint(Method):
    """Student whose maps of one stage, through a regressor, become those of its teacher.

    Args:
        student: Network to train and deploy.
        teacher: Frozen; its stages are paired with the student's from the coarsest.
        stage: Which of four, the last being 4; of networks with fewer, counted from the last.
        labels: Weight of the loss against the labels.
        imitation: Weight of the mean squared error of the stage's maps.
    """

    aliases: ClassVar[tuple[str, ...]] = ("fitnet", "fitnets")
    paper: ClassVar[str] = "Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015"
    scales = "all"

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        stage: Annotated[int, Field(ge=1, le=STAGES)] = 2,
        labels: Weight = 1.0,
        imitation: Weight = 100.0,
    ) -> None:
        super().__init__()
        pairs = paired(student.map_shapes, required_maps(self, teacher))
        self.student = student
        self.teacher = teacher
        self.place = _place(stage, len(pairs))
        self.labels = labels
        self.imitation = imitation
        self.regress = _regressor(*pairs[self.place])
        advise_if_heavy(
            self,
            "regressor has",
            self.regress,
            f" between the maps of stage {stage}; a later method.stage, whose maps are nearer in "
            "size, has fewer.",
        )

    @classmethod
    def finest(
        cls, own: Sequence[tuple[int, ...]], settings: Mapping[str, Any]
    ) -> list[tuple[int, ...] | None]:
        """The hint as it is, for the regressor reaches a larger one; of the others hardly any."""
        found: list[tuple[int, ...] | None] = [(1,) * len(space) for space in own]
        if found:
            found[_place(settings["stage"], len(own))] = None
        return found

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and the error of the hint."""
        student = self.student(batch.images)
        guess = at_least_float32(self.regress(student.maps[self.place]))
        guess, hint = at_one_size(guess, self.teacher(batch).maps[self.place])
        # A ReLU, as in the paper, except where it would put the hint out of reach: the maps of a
        # transformer, and all that are taken before their activation, are negative in places.
        guess = torch.where(hint.min() < 0, guess, guess.relu())
        errors = (guess - hint).square().flatten(1).mean(1)
        return {
            "labels": self.labels * cross_entropy(student.logits, batch.targets, batch.weights),
            "imitation": self.imitation * whole_batch_mean(errors),
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}


def _place(stage: int, count: int) -> int:
    """Of a stage among so many, counted from the end."""
    return max(stage - 1 - STAGES, -count)


def _regressor(ours: Shape, theirs: Shape) -> nn.Sequential:
    """From maps of one shape to those of another; the teacher's larger ones are averaged later."""
    (width, *space), (wanted, *aim) = ours, theirs
    layer: nn.Module
    if space == [2 * edge for edge in aim]:
        layer = nn.Conv2d(width, wanted, 3, stride=2, padding=1)
    elif aim == [2 * edge for edge in space]:
        layer = nn.ConvTranspose2d(width, wanted, 4, stride=2, padding=1)
    elif all(own >= edge for own, edge in zip(space, aim, strict=True)):
        # Without padding: 1x1 where the sizes agree
        kernel = [1 + own - edge for own, edge in zip(space, aim, strict=True)]
        layer = nn.Conv2d(width, wanted, (kernel[0], kernel[1]))
    else:
        layer = nn.Conv2d(width, wanted, 3, padding=1)
    return nn.Sequential(layer, nn.BatchNorm2d(wanted))
