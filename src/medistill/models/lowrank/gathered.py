"""A 1 x 1 convolution, image by image, each with the weight of its own expert."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medistill.models.lowrank.chunked import Gradients
from medistill.models.lowrank.routing import Team


class GatheredImages(torch.autograd.Function):
    """One product for each image, all of a run in one call, in the layout in which images are.

    Weights are gathered anew for the backward pass: nothing is kept for each sample.
    """

    @staticmethod
    def forward(
        ctx: Any,
        teams: tuple[Team, ...],
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *factors: Tensor,
    ) -> Tensor:
        """Images of shape (batch, Cin, pixels) times their own weights."""
        ctx.teams, ctx.biased = teams, bias is not None
        ctx.save_for_backward(images, weight, *factors)
        result = _times(_own(teams, images, weight, factors), images)
        return result if bias is None else result.add_(bias[:, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        """Gradients of the weights add up over the samples of a task."""
        images, weight, *factors = ctx.saved_tensors
        onto_images = None
        if ctx.needs_input_grad[1]:
            onto_images = _times(_own(ctx.teams, images, weight, factors).mT, gradient)
        onto_each = torch.bmm(gradient, images.mT)
        onto_weight = torch.zeros_like(weight)
        onto_factors: list[Tensor] = []
        for team, a, b in zip(ctx.teams, factors[::2], factors[1::2], strict=True):
            onto_own = torch.cat(
                [
                    # In the parameters' precision: halves lose small gradients of many samples.
                    run.view(len(run), -1, *weight.shape).sum(1, dtype=weight.dtype)
                    for run in team.rows(onto_each.flatten(1), 1)
                ]
            )
            onto_weight += onto_own.sum(0)
            onto_own *= team.scale
            onto_factors += [torch.bmm(b.mT, onto_own), torch.bmm(onto_own, a.mT)]
        onto_bias = gradient.sum((0, 2)).to(weight.dtype) if ctx.biased else None
        return None, onto_images, onto_weight, onto_bias, *onto_factors


def _times(own: Tensor, images: Tensor) -> Tensor:
    """Each image by its weight, laid in memory as it was."""
    if images.stride(1) != 1 or images.shape[1] == 1:
        return torch.bmm(own, images)
    batch, outputs, pixels = len(own), own.shape[1], images.shape[2]
    # No view of the product: what follows may work in place.
    layout = (outputs * pixels, 1, outputs)
    result = torch.empty_strided(
        (batch, outputs, pixels), layout, dtype=images.dtype, device=images.device
    )
    torch.bmm(images.mT, own.mT, out=result.mT)
    return result


def _own(
    teams: tuple[Team, ...], images: Tensor, weight: Tensor, factors: Sequence[Tensor]
) -> Tensor:
    """The weight of each image."""
    gathered = []
    for team, a, b in zip(teams, factors[::2], factors[1::2], strict=True):
        own = torch.baddbmm(weight[None], b, a, alpha=team.scale).to(images.dtype)
        counts = torch.tensor(team.counts, device=own.device)
        gathered.append(own.repeat_interleave(counts, dim=0))
    return gathered[0] if len(gathered) == 1 else torch.cat(gathered)
