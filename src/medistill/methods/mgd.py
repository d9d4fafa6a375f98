"""Masked Generative Distillation (MGD)."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.losses.collective import whole_batch_mean
from medistill.losses.precision import at_least_float32
from medistill.losses.supervised import cross_entropy
from medistill.methods._maps import required_maps
from medistill.methods._settings import Share, Weight
from medistill.methods._words import advise_if_heavy
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.reprogramming import CONVOLUTIONS
from medistill.models.teachers import Teacher
from medistill.types import Batch


class Mgd(Method):
    """Student from whose last map, some channels hidden, the teacher's whole map can be generated.

    The error is a sum over the teacher's map, not a mean: it grows with channels, height and width,
    and `generation` assumes that. The paper's own recipe clips the gradient at 5.

    Args:
        student: Network to train and deploy.
        teacher: Frozen; its last map is generated.
        labels: Weight of the loss against the labels.
        generation: Weight of the summed squared error of the generated map (α).
        masked: Share of the channels hidden from the generator, drawn anew for each sample (λ).
        width: Channels inside the generator; none takes the teacher's C, as published, and so
            18 C^2 weights: 10.6 M for 768 channels, 75.5 M for 2048.
    """

    aliases: ClassVar[tuple[str, ...]] = ("masked_generative_distillation",)
    paper: ClassVar[str] = "Yang et al., Masked Generative Distillation, ECCV 2022"
    scales = "last"
    tunable = ("generation",)

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        labels: Weight = 1.0,
        generation: Weight = 7e-5,
        masked: Share = 0.15,
        width: Annotated[int | None, Field(ge=1)] = None,
    ) -> None:
        super().__init__()
        channels, *space = required_maps(self, teacher)[-1]
        self.student = student
        self.teacher = teacher
        self.labels = labels
        self.generation = generation
        self.masked = masked
        convolution = CONVOLUTIONS[len(space)]
        same = student.width == channels
        self.align = nn.Identity() if same else convolution(student.width, channels, 1)
        inner = width or channels
        self.generate = nn.Sequential(
            convolution(channels, inner, 3, padding=1),
            nn.ReLU(),
            convolution(inner, channels, 3, padding=1),
        )
        advise_if_heavy(
            self,
            "generator has",
            self.generate,
            f" for the teacher's {channels} channels; method.width 256 leaves "
            f"{18 * 256 * channels / 1e6:.1f} M.",
        )

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and the error of the generated map."""
        student = self.student(batch.images)
        wanted = self.teacher(batch).maps[-1]
        # Resizing and a 1x1 convolution commute, so the map with fewer channels is resized.
        aligned = self.align(_resized(student.maps[-1], wanted.shape[2:]))
        shape = [*aligned.shape[:2], *[1] * (aligned.ndim - 2)]
        seen = torch.rand(shape, device=aligned.device) >= self.masked
        errors = at_least_float32(self.generate(aligned * seen)) - wanted
        return {
            "labels": self.labels * cross_entropy(student.logits, batch.targets, batch.weights),
            "generation": self.generation * whole_batch_mean(errors.square().flatten(1).sum(1)),
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}


def _resized(maps: Tensor, space: torch.Size) -> Tensor:
    if maps.shape[2:] == space:
        return maps
    return F.interpolate(maps, space, mode="bilinear" if maps.ndim == 4 else "trilinear")
