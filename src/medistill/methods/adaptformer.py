"""Bottlenecks beside a foundation model's MLPs (AdaptFormer)."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from medistill.losses.supervised import cross_entropy
from medistill.methods._tuning import Block, Count, Tuning, frozen, headed
from medistill.models.adapters.bottlenecks import Bottlenecks
from medistill.models.networks import Student
from medistill.types import Batch

EPS = 1e-6  # of the norm before the head, as in the released code


class Adaptformer(Tuning):
    """Foundation model whose blocks learn a bottleneck beside their MLP.

    Features are normalised over the batch before the head, without weights; deployed, the head
    does both.

    Args:
        student: The foundation model, a vision transformer.
        bottleneck: Width of the bottlenecks.
        scale: What they are multiplied by.
        dropout: Share of a bottleneck left out in training.
        first_block: Blocks before it stay as they are, and autograd remembers nothing of them.
    """

    called: ClassVar[str] = "AdaptFormer"
    paper: ClassVar[str] = (
        "Chen et al., AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition, "
        "NeurIPS 2022"
    )

    def __init__(
        self,
        student: Student,
        *,
        bottleneck: Count = 64,
        scale: float = 0.1,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        first_block: Block = 0,
    ) -> None:
        encoder = Bottlenecks(
            frozen(student), width=bottleneck, scale=scale, dropout=dropout, first_block=first_block
        )
        super().__init__(student, encoder)
        device = self.student.head.weight.device
        self.norm = nn.BatchNorm1d(encoder.width, eps=EPS, affine=False, device=device)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy against the labels."""
        features = self.student.encoder(batch.images).features
        logits = self.student.head(self.norm(features))
        return {"labels": cross_entropy(logits, batch.targets, batch.weights)}

    @torch.no_grad()
    def deploy(self) -> dict[str, nn.Module]:
        """The foundation model with its bottlenecks, the norm folded into the head."""
        head, mean, variance = self.student.head, self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None, "this norm keeps statistics"
        weight = head.weight * (variance + EPS).rsqrt()
        return {"all": headed(self.student.encoder, weight, head.bias - weight @ mean)}
