"""What a loss needs when several processes each hold a part of the batch.

In one process each function is the plain one. Gradients follow PyTorch's DDP, which averages them
over the processes: whatever the number of processes, they come out as those of the whole batch.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from medistill.losses.precision import at_least_float32


def processes() -> int:
    """How many processes train together; 1 without `torch.distributed`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def whole_batch(features: Float[Tensor, "batch width"]) -> Float[Tensor, "whole width"]:
    """The features of all processes in float32, in the order of their ranks, with gradients.

    For losses that compare the samples of a batch with each other: each process computes the loss
    of the whole batch. The processes may hold different numbers of samples.
    """
    rows = at_least_float32(features)
    if processes() == 1:
        return rows
    # A collective needs equal shapes: the shorter parts are padded, and cut again.
    counts = _counts(rows)
    padded = F.pad(rows, [0, 0, 0, max(counts) - len(rows)])
    blocks = _Gathered.apply(padded)
    return torch.cat([block[:count] for block, count in zip(blocks, counts, strict=True)])


def whole_batch_mean(
    values: Float[Tensor, " batch"], weights: Float[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    """Weighted mean over the batch of all processes: sum(w * v) / sum(w), or 0 if no w is positive.

    Each process gives its own samples' share, times the number of processes: the mean over the
    processes is the mean over the whole batch, however unequal their parts.
    """
    weights = torch.ones_like(values) if weights is None else weights.to(values.dtype)
    total = weights.detach().sum()
    if processes() > 1:
        dist.all_reduce(total)
    # DDP will divide by the number of processes, but `total` is already of all of them.
    share = (weights * values).sum() * processes()
    return share / total.clamp_min(torch.finfo(total.dtype).tiny)


def mean_over_processes(tensor: Tensor) -> Tensor:
    """The mean of a tensor over the processes, in its place and without a gradient.

    What a method computes from gradients, none of which DDP has averaged, starts from this.
    """
    if processes() > 1:
        dist.all_reduce(tensor)
        tensor /= processes()
    return tensor


def anywhere(flags: Bool[Tensor, " flags"]) -> list[bool]:
    """Which flags are set in at least one process.

    What only some processes hold must be gone through by all of them, or they wait for each other.
    """
    counts = flags.int()
    if processes() > 1:
        dist.all_reduce(counts)
    return [count > 0 for count in counts.tolist()]


class _Gathered(torch.autograd.Function):
    """`dist.all_gather` whose gradient is that of the sum of all processes' losses."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, ...]:
        rows = rows.contiguous()
        blocks = [torch.empty_like(rows) for _ in range(processes())]
        dist.all_gather(blocks, rows)
        return tuple(blocks)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Each process's loss depends on every process's rows.
        total = torch.stack(gradients)
        dist.all_reduce(total)
        return total[dist.get_rank()]


def _counts(rows: Tensor) -> list[int]:
    own = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(own) for _ in range(processes())]
    dist.all_gather(counts, own)
    return [int(count) for count in counts]
