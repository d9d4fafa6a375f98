"""Shared prompts first, then groups of prompts that each image chooses (LPT)."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.errors import UserError
from medistill.losses.collective import whole_batch_mean
from medistill.losses.precision import at_least_float32
from medistill.losses.supervised import cross_entropy
from medistill.methods._settings import Weight
from medistill.methods._tuning import TWENTY_GROUPS, Count, Groups, Tuning, frozen, headed
from medistill.methods.base import faded
from medistill.models.adapters.base import Pooling
from medistill.models.adapters.prompt_pool import PromptPool
from medistill.models.networks import Student
from medistill.types import Batch, Output

SECOND_PHASE = 0.5  # progress at which groups come in and shared prompts rest


class Lpt(Tuning):
    """Foundation model with prompts for all images, and later with some that an image chooses.

    The head judges by cosines. A method does not choose what is in a batch: in place of the
    paper's class-aware sampling, the classes of each batch weigh alike in the second phase. In
    place of its asymmetric loss stands cross-entropy, which small balanced sets do not miss.

    Args:
        student: The foundation model, a vision transformer, plain or windowed.
        prompts: Shared prompts of a block, and prompts of a group in a block.
        groups: Of prompts, among which an image chooses.
        scale: Of the cosines, which are the logits.
        keys: Weight of the nearness of an image to the keys of its groups.
        plain: Weight of the loss in which images and not classes weigh alike, when the second
            phase begins; it fades to 0.
        pooling: The head reads the class token, where there is one, or the mean of the patches.
    """

    paper: ClassVar[str] = (
        "Dong et al., LPT: Long-tailed Prompt Tuning for Image Classification, ICLR 2023"
    )

    second_phase: Tensor

    def __init__(
        self,
        student: Student,
        *,
        prompts: Count = 10,
        groups: Groups = TWENTY_GROUPS,
        scale: Annotated[float, Field(gt=0)] = 20.0,
        keys: Weight = 0.5,
        plain: Weight = 0.5,
        pooling: Pooling = "class_token",
    ) -> None:
        if groups.chosen > groups.count:
            raise UserError(
                f"groups.chosen is {groups.chosen}, but there are {groups.count} to choose from."
            )
        encoder = PromptPool(
            frozen(student),
            count=prompts,
            groups=groups.count,
            chosen=groups.chosen,
            groups_from=groups.first_block,
            pooling=pooling,
        )
        super().__init__(student, encoder)
        self.student.head.register_parameter("bias", None)  # a cosine has none
        self.scale, self.keys, self.plain = scale, keys, plain
        self.register_buffer("second_phase", torch.tensor(False))

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy with shared prompts in the first half, with groups in the second."""
        self.second_phase.fill_(progress >= SECOND_PHASE)
        labels, each = batch.targets, batch.weights
        if progress < SECOND_PHASE:
            logits = self._cosines(self._pool.with_shared_alone(batch.images))
            return {"labels": cross_entropy(logits, labels, each)}
        output, nearness = self._pool.looked_up(batch.images)
        logits = self._cosines(output)
        fading = faded((progress - SECOND_PHASE) / (1 - SECOND_PHASE), 0.0)
        return {
            "classes": cross_entropy(logits, labels, each * _class_weights(labels)),
            "labels": self.plain * fading * cross_entropy(logits, labels, each),
            "keys": self.keys * (1 - whole_batch_mean(at_least_float32(nearness))),
        }

    @torch.no_grad()
    def deploy(self) -> dict[str, nn.Module]:
        """The foundation model with the prompts of the phase; cosines folded into the head."""
        encoder = self._pool if self.second_phase else self._pool.without_groups()
        weight = self.scale * F.normalize(self.student.head.weight, dim=1)
        return {"all": headed(encoder, weight, weight.new_zeros(len(weight)))}

    @property
    def _pool(self) -> PromptPool:
        encoder = self.student.encoder
        assert isinstance(encoder, PromptPool)
        return encoder

    def _cosines(self, output: Output) -> Tensor:
        """Logits; the encoder's features have length 1 already."""
        return self.scale * F.linear(output.features, F.normalize(self.student.head.weight, dim=1))


def _class_weights(targets: Tensor) -> Tensor:
    """For each sample the inverse of how many in the batch have its class."""
    alike = (targets[:, None] == targets[None]).sum(1)
    return alike.float().reciprocal()
