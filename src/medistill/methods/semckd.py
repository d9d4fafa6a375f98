"""Semantic calibration: which stage learns from which is learned too (SemCKD)."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.errors import UserError
from medistill.losses.collective import whole_batch, whole_batch_mean
from medistill.losses.precision import at_least_float32, without_autocast
from medistill.losses.supervised import cross_entropy
from medistill.methods._maps import required_maps
from medistill.methods._settings import Weight
from medistill.methods._words import advise_if_heavy
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.scales import at_one_size, stages
from medistill.models.teachers import Teacher
from medistill.types import Batch

THINNER = 256  # channels inside a projection, of which a CPU makes short work


class Semckd(Method):
    """Student each of whose stages learns from all of the teacher's, by an attention over them.

    The attention of a sample follows from how similar it is to each other sample of its batch, and
    so the size of the batches is built into the method. The authors add the imitation of softened
    logits, which wants a teacher that judges; it is left out here.

    Args:
        student: Network to train and deploy.
        teacher: Frozen; every stage is offered to every stage of the student.
        batch_size: Of the training; taken from there unless a recipe says otherwise.
        hidden: The most channels inside a projection; None for the paper's twice the teacher's,
            however many: beside a ViT-B that makes 340 million weights.
        labels: Weight of the loss against the labels.
        imitation: Weight of the errors, a mean over samples and stages: that of the authors'
            ImageNet script. They have 400 for images of 32 pixels.
    """

    aliases: ClassVar[tuple[str, ...]] = ("semantic_calibration",)
    called: ClassVar[str] = "SemCKD"
    paper: ClassVar[str] = (
        "Chen et al., Cross-Layer Distillation with Semantic Calibration, AAAI 2021"
    )
    scales = "all"

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        batch_size: Annotated[int, Field(ge=4)] = 32,
        hidden: Annotated[int, Field(ge=1)] | None = None,
        labels: Weight = 1.0,
        imitation: Weight = 50.0,
    ) -> None:
        super().__init__()
        offered = [shape[0] for shape in stages(required_maps(self, teacher))]
        own = stages(student.encoder.widths)
        self.student = student
        self.teacher = teacher
        self.batch_size = batch_size
        self.labels = labels
        self.imitation = imitation
        self.queries = nn.ModuleList(_embedding(batch_size) for _ in own)
        self.keys = nn.ModuleList(_embedding(batch_size) for _ in offered)
        pairs = product(own, offered)
        self.projections = nn.ModuleList(_projection(*pair, hidden) for pair in pairs)
        advise_if_heavy(
            self,
            "projections have",
            self.projections,
            f", as published; method.hidden bounds their width: {THINNER}, for instance.",
        )

    @classmethod
    def finest(
        cls, own: Sequence[tuple[int, ...]], settings: Mapping[str, Any]
    ) -> list[tuple[int, ...] | None]:
        """Each stage learns from each, and so all are as fine as the student's finest."""
        return [own[0]] * len(own) if own else []

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and the errors of all pairs of stages by attention."""
        student = self.student(batch.images)
        ours, theirs = stages(student.maps), stages(self.teacher(batch).maps)
        errors = self._errors(ours, theirs)
        each = (self._attention(ours, theirs) * errors).sum(2).mean(1)
        return {
            "labels": self.labels * cross_entropy(student.logits, batch.targets, batch.weights),
            "imitation": self.imitation * whole_batch_mean(each),
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is."""
        return {"all": self.student}

    def _attention(
        self, ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]
    ) -> Float[Tensor, "batch stages teacher_stages"]:
        """Shares of the teacher's stages, for each sample and stage; gradients flow through."""
        with without_autocast(ours[0]):
            queries = torch.stack([*map(self._embedded, self.queries, ours)], 1)
            keys = torch.stack([*map(self._embedded, self.keys, theirs)], 1)
            return (queries @ keys.mT).softmax(2)

    def _embedded(self, embed: nn.Module, maps: Tensor) -> Float[Tensor, "batch embedding"]:
        rows = at_least_float32(maps.flatten(1))
        whole = whole_batch(rows)
        if len(whole) != self.batch_size:
            raise UserError(
                f"semckd was built for batches of {self.batch_size}, but got one of {len(whole)}: "
                f"leave method.batch_size out, and set training.batch_size to {len(whole)}."
            )
        return F.normalize(embed(rows @ whole.T))

    def _errors(
        self, ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]
    ) -> Float[Tensor, "batch stages teacher_stages"]:
        pairs = [(own, offered) for own in ours for offered in theirs]
        errors = torch.stack([*map(_error, self.projections, *zip(*pairs, strict=True))], 1)
        return errors.view(-1, len(ours), len(theirs))


def _error(project: nn.Module, own: Tensor, offered: Tensor) -> Float[Tensor, " batch"]:
    own, offered = at_one_size(own, offered)
    return (at_least_float32(project(own)) - offered).square().flatten(1).mean(1)


def _embedding(size: int) -> nn.Sequential:
    """Of a sample's similarities to the batch."""
    return nn.Sequential(nn.Linear(size, size // 2), nn.ReLU(), nn.Linear(size // 2, size // 4))


def _projection(width: int, wanted: int, hidden: int | None) -> nn.Sequential:
    inside = min(2 * wanted, hidden or 2 * wanted)
    return nn.Sequential(
        nn.Conv2d(width, inside, 1, bias=False),
        nn.BatchNorm2d(inside),
        nn.ReLU(),
        nn.Conv2d(inside, inside, 3, padding=1, bias=False),
        nn.BatchNorm2d(inside),
        nn.ReLU(),
        nn.Conv2d(inside, wanted, 1, bias=False),
    )
