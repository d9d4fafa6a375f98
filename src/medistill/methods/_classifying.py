"""What classification asks of a network with experts: a head for each task, and features."""

from collections.abc import Sequence
from itertools import accumulate
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.losses.divergence import feature_kl
from medistill.losses.regression import feature_cosine, feature_mse
from medistill.losses.supervised import UNLABELLED, each_cross_entropy
from medistill.methods._objectives import (
    AS_PROPOSED,
    PLAIN_LABELS,
    Imitated,
    Judged,
    Labels,
    Objective,
)
from medistill.methods._tasks import Heads
from medistill.models.networks import Encoder, Student
from medistill.models.teachers import Teacher
from medistill.types import Batch, Output, Task

TEMPERATURE = 10.0  # of the KL between features, in the authors' code


class Classifying(Objective):
    """Labels by the head of each sample's task, and pooled features that resemble the teacher's.

    Args:
        student: Its encoder gets experts; its own head is left aside.
        teacher: Its pooled features are imitated; None where nothing is.
        tasks: In the order of `Batch.tasks`.
        imitated: How features are compared.
        labels: How they are learnt.
    """

    imitation_weight: ClassVar[float] = 1.0

    offsets: Tensor

    def __init__(
        self,
        student: Student,
        teacher: Teacher | None,
        tasks: Sequence[Task],
        *,
        imitated: Imitated = AS_PROPOSED,
        labels: Labels = PLAIN_LABELS,
    ) -> None:
        super().__init__(student.encoder)
        _refuse(imitated)
        self.imitated, self.settings = imitated, labels
        self.heads = Heads(student.width, tasks)
        self.project: nn.Module = nn.Identity()
        self.carry: nn.Module = nn.Identity()
        if teacher is not None and imitated.projection == "student":
            self.project = nn.Linear(student.width, teacher.width)
        elif teacher is not None:
            # One that learnt could make what is imitated constant.
            self.carry = nn.Linear(teacher.width, student.width).requires_grad_(False)
        offsets = [0, *accumulate(len(task.classes) for task in tasks)]
        self.register_buffer("offsets", torch.tensor(offsets[:-1]), persistent=False)
        self.joint = nn.Linear(student.width, offsets[-1]) if labels.global_head else None

    def inputs(self, batch: Batch) -> tuple[Tensor]:
        """The images."""
        return (batch.images,)

    def labels(self, output: Output, batch: Batch) -> Judged:
        """Cross-entropy of each sample by its task's head, and by the joint one if there is one."""
        each = self.heads(output.features, batch, self.settings.temperature)
        if self.joint is not None:
            shifted = batch.targets + self.offsets[batch.tasks]
            targets = torch.where(batch.targets == UNLABELLED, UNLABELLED, shifted)
            logits = self.joint(output.features)
            each = each + self.settings.global_head * each_cross_entropy(logits, targets)
        return Judged(each, batch.weights * (batch.targets != UNLABELLED), batch.tasks)

    def imitation(self, output: Output, batch: Batch, taught: Output) -> Float[Tensor, ""]:
        """Between pooled features, brought to one width."""
        features, wanted = self.project(output.features), self.carry(taught.features)
        if self.imitated.loss == "mse":
            return feature_mse(features, wanted)
        if self.imitated.loss == "cos":
            return feature_cosine(features, wanted)
        return feature_kl(features, wanted, self.imitated.temperature or TEMPERATURE)

    def networks(self, by_task: Sequence[nn.Module]) -> dict[str, nn.Module]:
        """Each task's head on the encoder with its expert."""
        encoders = [encoder for encoder in by_task if isinstance(encoder, Encoder)]
        return self.heads.on(encoders)

    @torch.no_grad()
    def shared(self, network: nn.Module) -> nn.Module:
        """The encoder, and a Linear to the features that it learnt to give."""
        assert isinstance(network, Encoder)
        if not isinstance(self.project, nn.Linear):
            return featuring(network)
        student = Student(network, self.project.out_features)
        student.head.load_state_dict(self.project.state_dict())
        return student


@torch.no_grad()
def featuring(encoder: Encoder) -> Student:
    """An encoder as a network to deploy that judges nothing: it answers its features."""
    student = Student(encoder, encoder.width)
    nn.init.eye_(student.head.weight)
    nn.init.zeros_(student.head.bias)
    return student


def _refuse(imitated: Imitated) -> None:
    if imitated.loss == "literal":
        raise UserError(
            "method.imitated.loss literal compares masks, but the roots have classes: choose kl, "
            "mse or cos."
        )
