"""Batch normalisation over the samples of all processes."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode


class SynchronisedBatchNorm(TorchFunctionMode):
    """While active, `F.batch_norm` in training normalises over the samples of all processes.

    It changes the function and not the modules: theirs are the layers of any library (timm's
    fused norm and activation too), the names of their state, what `deepcopy` and `deploy()` give.
    Evaluation is untouched. All processes must reach the same layers in the same order.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        chosen = _batch_norm if func is F.batch_norm else func
        return chosen(*args, **(kwargs or {}))


def gathered_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm` in training, with the mean and variance of all processes' samples.

    The processes may hold different numbers of samples, even none.
    """
    output, mean, variance, count = _Normalised.apply(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        unbiased = variance * count / (count - 1).clamp_min(1)
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    return output  # type: ignore[no-any-return]


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    state = (running_mean, running_var)
    if not training:
        return F.batch_norm(input, *state, weight, bias, False, momentum, eps)
    if input.is_cuda:
        # What nn.SyncBatchNorm calls: fused kernels, which exist for CUDA alone.
        group, processes = dist.group.WORLD, dist.get_world_size()
        settings = (eps, momentum, group, processes)
        return SyncBatchNorm.apply(input, weight, bias, *state, *settings)  # type: ignore[no-any-return]
    return gathered_batch_norm(input, *state, weight, bias, momentum=momentum, eps=eps)


class _Normalised(torch.autograd.Function):
    """The layer, and the gradient of the sum of all processes' losses."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, variance, count = _statistics(input)
        ctx.save_for_backward(input, weight, mean, (variance + eps).rsqrt(), count)
        ctx.mark_non_differentiable(mean, variance, count)
        output = F.batch_norm(input, mean, variance, weight, bias, eps=eps)
        return output, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, scale, count = ctx.saved_tensors
        gradient = gradients[0]
        axes = [0, *range(2, input.ndim)]
        shape = [1, -1] + [1] * (input.ndim - 2)
        normalised = (input - mean.view(shape)) * scale.view(shape)
        own = torch.stack([gradient.sum(axes), (gradient * normalised).sum(axes)])
        sums = own.clone()
        dist.all_reduce(sums)
        # The gradient loses its mean, and its slope along the normalised values: both were removed
        # from the output. A process's own sums are its share for bias and weight, as DDP expects.
        shift, slope = (sums / count).view(2, *shape)
        scale = scale if weight is None else scale * weight
        onto_input = (gradient - shift - normalised * slope) * scale.view(shape)
        affine = (None, None) if weight is None else (own[1], own[0])
        return onto_input.to(input.dtype), *affine, None


def _statistics(input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and number of values per channel, over all processes.

    Merged from each process's own mean and spread, which loses no digits to large means.
    """
    values = input.detach().to(torch.promote_types(input.dtype, torch.float32))
    axes = [0, *range(2, input.ndim)]
    count = values.new_tensor([values.numel() // values.shape[1]])
    mean = values.sum(axes) / count.clamp_min(1)
    spread = (values - mean.view(1, -1, *[1] * (values.ndim - 2))).square().sum(axes)
    own = torch.cat([count, mean, spread])
    blocks = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(blocks, own)
    counts, means, spreads = torch.split(torch.stack(blocks), [1, len(mean), len(mean)], 1)
    total = counts.sum()
    # Spread within the processes and between them: Chan, Golub and LeVeque (1979).
    mean = (counts * means).sum(0) / total
    spread = (spreads + counts * (means - mean).square()).sum(0)
    return mean, spread / total, total
