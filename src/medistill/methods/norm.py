"""N-to-One Representation Matching (NORM)."""

import copy
from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.losses.collective import whole_batch_mean
from medistill.losses.precision import at_least_float32
from medistill.losses.supervised import cross_entropy
from medistill.methods._maps import required_maps
from medistill.methods._settings import Weight
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.reprogramming import CONVOLUTIONS, NORMS
from medistill.models.scales import smaller
from medistill.models.teachers import Teacher
from medistill.types import Batch

POOLS: dict[int, Callable[..., Tensor]] = {2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


class Norm(Method):
    """Student whose last map, widened by a linear detour, holds the teacher's map several times.

    The widened map has `copies` times the teacher's channels: 16384 of them for eight copies of
    2048, half a gigabyte of activations in a batch of 32. The authors' code also normalises the
    logits, and changes the weight of the matching by an undocumented schedule; neither is here.

    Args:
        student: Network to train; the detour is folded into the head that is deployed.
        teacher: Frozen; its last map is matched.
        labels: Weight of the loss against the labels; 0.0625 to 0.5 in the paper's small sets.
        matching: Weight of the squared error of the copies, summed over them.
        copies: How many times the teacher's map is matched (N).
    """

    aliases: ClassVar[tuple[str, ...]] = ("n_to_one",)
    called: ClassVar[str] = "NORM"
    paper: ClassVar[str] = (
        "Liu et al., NORM: Knowledge Distillation via N-to-One Representation Matching, ICLR 2023"
    )
    scales = "last"
    tunable = ("matching",)

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        *,
        labels: Weight = 1.0,
        matching: Weight = 1.0,
        copies: Annotated[int, Field(ge=1)] = 8,
    ) -> None:
        super().__init__()
        channels, *space = required_maps(self, teacher)[-1]
        self.student = student
        self.teacher = teacher
        self.labels = labels
        self.matching = matching
        self.copies = copies
        self.detour = _Detour(student.width, copies * channels, len(space))

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy through the detour, and the error of every copy of the teacher's map."""
        maps = self.student.encoder(batch.images).maps[-1]
        widened, returned = self.detour(maps)
        logits = self.student.head((maps + returned).flatten(2).mean(2))
        errors = _mean_squares(widened, self.teacher(batch).maps[-1], self.copies)
        return {
            "labels": self.labels * cross_entropy(logits, batch.targets, batch.weights),
            "matching": self.matching * self.copies * whole_batch_mean(errors),
        }

    @torch.no_grad()
    def deploy(self) -> dict[str, nn.Module]:
        """A plain student on the same encoder, with the detour as it judges folded into its head.

        Averaging a map commutes with the detour, which is linear and looks at one place at a time:
        W (s + A s + c) + b = (W + W A) s + (W c + b).
        """
        detour, constant = self.detour.folded()
        head = self.student.head
        plain = self.student.with_classes(head.out_features)
        weight = head.weight.double()
        plain.head.weight.copy_(weight + weight @ detour)
        plain.head.bias.copy_(head.bias + weight @ constant)
        return {"all": plain}


class _Detour(nn.Module):
    """Wide and back, by two 1x1 convolutions with batch norms and nothing that is not linear."""

    def __init__(self, width: int, wide: int, space: int) -> None:
        super().__init__()
        self.width, self.space = width, space
        convolution, norm = CONVOLUTIONS[space], NORMS[space]
        self.widen = nn.Sequential(convolution(width, wide, 1, bias=False), norm(wide))
        self.narrow = nn.Sequential(convolution(wide, width, 1, bias=False), norm(width))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        widened = self.widen(maps)
        return widened, self.narrow(widened)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Matrix and vector of the whole detour in evaluation mode, in float64.

        A linear map is known by what it makes of nothing, and of each channel alone.
        """
        judging = copy.deepcopy(self).double().eval()
        like = next(judging.parameters())
        basis = torch.eye(self.width + 1, self.width, dtype=like.dtype, device=like.device)
        _, returned = judging(basis.view(*basis.shape, *[1] * self.space))
        *channels, constant = returned.flatten(1)
        return (torch.stack(channels) - constant).T, constant


def _mean_squares(widened: Tensor, wanted: Tensor, copies: int) -> Tensor:
    """Mean squared error of each sample's copies, the larger map max-pooled to the smaller."""
    space = smaller(widened.shape[2:], wanted.shape[2:])
    widened, wanted = (_pooled(each, space) for each in (at_least_float32(widened), wanted))
    # Copy after copy along the channels, compared without a tiled teacher in memory.
    apart = widened.reshape(len(widened), copies, *wanted.shape[1:]) - wanted[:, None]
    return apart.square().flatten(1).mean(1)


def _pooled(maps: Tensor, space: tuple[int, ...]) -> Tensor:
    if tuple(maps.shape[2:]) == space:
        return maps
    return POOLS[len(space)](maps, space)
