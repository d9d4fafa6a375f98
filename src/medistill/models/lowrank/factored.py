"""Experts whose weights are never built: the shared weight, and beside it the two factors."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medistill.models.lowrank.chunked import Gradients
from medistill.models.lowrank.geometry import Geometry
from medistill.models.lowrank.routing import Team


class FactoredRows(torch.autograd.Function):
    """A 1 x 1 convolution: one product for the whole batch, two thin ones for each run."""

    @staticmethod
    def forward(
        ctx: Any,
        pixels: int,
        teams: tuple[Team, ...],
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *factors: Tensor,
    ) -> Tensor:
        """x W + s (x A) B for the rows x of each task."""
        ctx.pixels, ctx.teams, ctx.biased = pixels, teams, bias is not None
        ctx.save_for_backward(rows, weight, *factors)
        result = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
        for team, a, b in zip(teams, factors[::2], factors[1::2], strict=True):
            for row, product, first, second in zip(
                team.rows(rows, pixels),
                team.rows(result, pixels),
                team.stacks(a.mT),
                team.stacks(b.mT),
                strict=True,
            ):
                product.baddbmm_(torch.bmm(row, first), second, alpha=team.scale)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        """The shared weight's gradient is one product too."""
        rows, weight, *factors = ctx.saved_tensors
        # The runs below are views of rows, which an expanded gradient, of a sum say, does not have.
        gradient = gradient.contiguous()
        onto_rows, onto_weight = gradient @ weight, gradient.T @ rows
        onto_factors: list[Tensor] = []
        for team, a, b in zip(ctx.teams, factors[::2], factors[1::2], strict=True):
            onto_a, onto_b = torch.empty_like(a), torch.empty_like(b)
            for row, here, onto_row, first, second, onto_first, onto_second in zip(
                team.rows(rows, ctx.pixels),
                team.rows(gradient, ctx.pixels),
                team.rows(onto_rows, ctx.pixels),
                team.stacks(a),
                team.stacks(b),
                team.stacks(onto_a),
                team.stacks(onto_b),
                strict=True,
            ):
                onto_thin = torch.bmm(here, second).mul_(team.scale)
                onto_row.baddbmm_(onto_thin, first)
                torch.bmm(onto_thin.mT, row, out=onto_first)
                torch.bmm(here.mT, torch.bmm(row, first.mT), out=onto_second)
            onto_factors += [onto_a, onto_b.mul_(team.scale)]
        onto_bias = gradient.sum(0) if ctx.biased else None
        return None, None, onto_rows, onto_weight, onto_bias, *onto_factors


class Seconds(torch.autograd.Function):
    """Adds, in place, what the second factors make of what the first ones gave."""

    @staticmethod
    def forward(
        ctx: Any, layer: Geometry, teams: tuple[Team, ...], images: Tensor, *thins_and_bs: Tensor
    ) -> Tensor:
        """s B z for the thin rows z of each task."""
        ctx.layer, ctx.teams = layer, teams
        ctx.save_for_backward(*thins_and_bs)
        ctx.mark_dirty(images)
        rows = images.movedim(1, -1).reshape(-1, layer.outputs)
        for team, thin, b in zip(teams, thins_and_bs[::2], thins_and_bs[1::2], strict=True):
            for own, second, product in zip(
                team.runs_of(thin),
                team.stacks(_second(b, layer).mT),
                team.rows(rows, len(rows) // len(images)),
                strict=True,
            ):
                product.baddbmm_(own, second, alpha=team.scale)
        if rows.data_ptr() != images.data_ptr():  # their layout had no rows
            images.copy_(rows.view(images.movedim(1, -1).shape).movedim(-1, 1))
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        """That of the images passes through."""
        layer, onto_both = ctx.layer, []
        rows = gradient.movedim(1, -1).reshape(-1, layer.outputs)
        thins_and_bs = ctx.saved_tensors
        for team, thin, b in zip(ctx.teams, thins_and_bs[::2], thins_and_bs[1::2], strict=True):
            onto_thin, onto_b = torch.empty_like(thin), torch.empty_like(b)
            for own, second, here, onto_own, onto_second in zip(
                team.runs_of(thin),
                team.stacks(_second(b, layer)),
                team.rows(rows, len(rows) // len(gradient)),
                team.runs_of(onto_thin),
                team.stacks(_second(onto_b, layer)),
                strict=True,
            ):
                torch.bmm(here, second, out=onto_own)
                torch.bmm(here.mT, own, out=onto_second)
            onto_both += [onto_thin.mul_(team.scale), onto_b.mul_(team.scale)]
        return None, None, gradient, *onto_both


def _second(b: Tensor, layer: Geometry) -> Tensor:
    """B as it meets what the first factor made of every group: (tasks, Cout, k inner)."""
    return b.view(len(b), layer.outputs, -1)
