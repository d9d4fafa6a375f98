"""Contrastive Representation Distillation (CRD)."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.errors import UserError
from medistill.losses.collective import whole_batch, whole_batch_mean
from medistill.losses.contrast import noise_contrast
from medistill.losses.precision import at_least_float32, without_autocast
from medistill.losses.supervised import UNLABELLED, cross_entropy
from medistill.methods._settings import Temperature, Weight
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.teachers import Teacher
from medistill.types import Batch, Task

Count = Annotated[int, Field(ge=1)]
MOMENTUM = 0.5  # share of the old embedding in a renewed memory
UNSEEN = -1  # class of a sample that no batch has shown


class Crd(Method):
    """Student whose embedding of a sample is told from those of other classes by the teacher's.

    Both networks' embeddings of all samples are remembered: with 128 numbers each, 1 MB for every
    thousand samples, in memory and in a checkpoint. Noise is drawn from the training samples of
    other classes that were seen so far; all of them serve where there are fewer than `noise`.
    A sample without a label is a class of its own.

    Args:
        student: Network to train and deploy.
        teacher: Frozen; gives pooled features.
        tasks: One, or several that ask for the same classes.
        temperature: Of the scores; the lower, the more the hardest noise counts.
        labels: Weight of the loss against the labels.
        contrast: Weight of the contrast, of student and teacher together.
        noise: How many samples of other classes each is contrasted with, at most.
        width: Length of the embeddings.
    """

    aliases: ClassVar[tuple[str, ...]] = ("contrastive_distillation",)
    paper: ClassVar[str] = "Tian et al., Contrastive Representation Distillation, ICLR 2020"
    tunable = ("contrast",)
    one_task = True

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        tasks: tuple[Task, ...],
        *,
        temperature: Temperature = 0.07,
        labels: Weight = 1.0,
        contrast: Weight = 0.8,
        noise: Count = 16384,
        width: Count = 128,
    ) -> None:
        super().__init__()
        _refuse_other_classes(tasks)
        self.student = student
        self.teacher = teacher
        self.tasks = tasks
        self.temperature = temperature
        self.labels = labels
        self.contrast = contrast
        self.noise = noise
        self.embed = nn.Linear(student.width, width)
        self.embed_wanted = nn.Linear(teacher.width, width)
        self.memory = _Memory(sum(task.samples for task in tasks), width)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels, and the contrast in both directions."""
        student = self.student(batch.images)
        own = _unit(self.embed(student.features))
        theirs = _unit(self.embed_wanted(self.teacher(batch).features))
        contrast = self._contrast(own, theirs, batch)
        return {
            "labels": self.labels * cross_entropy(student.logits, batch.targets, batch.weights),
            "contrast": self.contrast * whole_batch_mean(contrast),
        }

    def deploy(self) -> dict[str, nn.Module]:
        """The student as it is, for each of the tasks."""
        return {task.name: self.student for task in self.tasks}

    def _contrast(self, own: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        """The loss of each sample, after which the memory holds its new embeddings."""
        memory, classes = self.memory, _classes(batch, len(self.tasks[0].classes))
        met = whole_batch(torch.stack([batch.samples, classes], 1).double()).long()
        if self.training:
            memory.meet(*met.T)
        noise = _at_most(self.noise, memory.others(classes))
        # Each network's embedding is scored against what is remembered of the other's.
        losses = [
            self._told_apart(side, embedding, batch.samples, noise)
            for side, embedding in enumerate((theirs, own))
        ]
        if self.training:
            both = [whole_batch(embedding.detach()) for embedding in (own, theirs)]
            memory.renew(met[:, 0], torch.stack(both))
        return torch.stack(losses).sum(0)

    def _told_apart(self, side: int, anchors: Tensor, samples: Tensor, noise: Tensor) -> Tensor:
        scores = self.memory.scores(side, anchors) / self.temperature
        pairs = scores.gather(1, samples[:, None])
        constant = self.memory.normaliser(side, pairs, scores, noise).log()
        return noise_contrast(pairs[:, 0] - constant, scores - constant, noise)


class _Memory(nn.Module):
    """Embeddings and class of every sample, and the constants by which scores are normalised.

    Side 0 holds the student's embeddings, side 1 the teacher's; all processes hold the same. As
    buffers they are part of a checkpoint, so that a resumed training goes on bit for bit.
    """

    rows: Tensor
    classes: Tensor
    constants: Tensor

    def __init__(self, samples: int, width: int) -> None:
        super().__init__()
        bound = (3 / width) ** 0.5  # rows of norm 1 or so, as what takes their place
        self.register_buffer("rows", torch.empty(2, samples, width).uniform_(-bound, bound))
        self.register_buffer("classes", torch.full((samples,), UNSEEN))
        self.register_buffer("constants", torch.zeros(2))

    def meet(self, samples: Tensor, classes: Tensor) -> None:
        """Learn the classes of some training samples: from now on they are noise for others."""
        self.classes[samples] = classes

    def others(self, classes: Tensor) -> Tensor:
        """Which samples are known to be of another class, for each of some classes."""
        return (self.classes != UNSEEN) & (self.classes != classes[:, None])

    def scores(self, side: int, anchors: Tensor) -> Tensor:
        """Inner products of anchors with all rows of a side."""
        # A copy, because the backward pass needs the rows as they were before their renewal.
        rows = self.rows[side].clone()
        with without_autocast(anchors):
            return anchors @ rows.T

    @torch.no_grad()
    def normaliser(self, side: int, pairs: Tensor, scores: Tensor, noise: Tensor) -> Tensor:
        """Mean of exp(score) over the first batch that was trained on, of all processes.

        In the paper it is N times that; N cancels against the chance 1/N of a sample of noise.
        """
        total = pairs.exp().sum() + scores.exp().masked_fill(~noise, 0).sum()
        count = len(pairs) + noise.sum()
        total, count = whole_batch(torch.stack([total, count])[None]).sum(0)
        # Without a question to the host, which would wait for the device in each step.
        constant = torch.where(self.constants[side] > 0, self.constants[side], total / count)
        if self.training:
            self.constants[side] = constant
        return constant

    @torch.no_grad()
    def renew(self, samples: Tensor, embeddings: Tensor) -> None:
        """Move the rows of some samples towards their embeddings, and back to norm 1.

        Of a sample that stands twice in a batch the mean counts.
        """
        same = (samples[:, None] == samples).to(embeddings.dtype)
        with without_autocast(embeddings):
            means = (same / same.sum(1, keepdim=True)) @ embeddings
        moved = MOMENTUM * self.rows[:, samples] + (1 - MOMENTUM) * means
        self.rows[:, samples] = F.normalize(moved, dim=2)


def _unit(embeddings: Tensor) -> Tensor:
    return F.normalize(at_least_float32(embeddings), dim=1)


def _classes(batch: Batch, count: int) -> Tensor:
    """Class of each sample; one without a label has a class to itself."""
    return torch.where(batch.targets == UNLABELLED, count + batch.samples, batch.targets)


def _at_most(limit: int, noise: Tensor) -> Tensor:
    """For each anchor as many of its samples of noise, drawn without replacement."""
    if noise.shape[1] <= limit:
        return noise
    draws = torch.rand(noise.shape, device=noise.device).masked_fill(~noise, -1)
    chosen = torch.zeros_like(noise).scatter(1, draws.topk(limit, dim=1).indices, True)
    return chosen & noise


def _refuse_other_classes(tasks: tuple[Task, ...]) -> None:
    first = tasks[0]
    for task in tasks:
        if task.classes != first.classes:
            raise UserError(
                f"crd has one head: {task.name} has other classes than {first.name}. Train each "
                "in a run of its own."
            )
