"""One process's part in the training of a method, by PyTorch's DDP."""

from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from medistill.methods.base import Method
from medistill.training.batch_norm import SynchronisedBatchNorm
from medistill.training.distributed import average, world
from medistill.types import Batch


class Replica:
    """A method that shares its batch, and so its gradients, with the other processes.

    Each process computes the losses of its own samples; the gradients are averaged over the
    processes, and batch normalisation sees all samples. In a single process it is the method.

    A loss must average so that the mean over the processes is the mean over the batch: those of
    `medistill.losses` do, however unequal the shares. Every process must hold at least one sample
    and see the same names of losses. A method that keeps buffers of samples gathers them itself,
    and a parameter made during the training must start equal everywhere, without random numbers
    that differ between processes.

    Parameters that no process used in a step keep the gradient None; those that some process used
    get the mean, in which the others count as zero.

    A method with a `backward` of its own, gradient surgery, averages the gradients that its rule
    reads over the processes (`losses.collective`); what it leaves is averaged once more.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self._forward: nn.Module = _Losses(method)
        self._wrapped: list[tuple[nn.Parameter, bool]] | None = None
        self._reduced: set[nn.Parameter] = set()  # those whose gradients DDP averages

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The method's losses of this process's samples."""
        if world() > 1:
            self._wrap()
        with SynchronisedBatchNorm() if world() > 1 else nullcontext():
            losses: dict[str, Tensor] = self._forward(batch, progress)
        return losses

    def backward(self, losses: dict[str, Tensor]) -> None:
        """Fill the gradients with those of the whole batch."""
        self.method.backward(losses)
        if world() > 1:
            _average_gradients([p for p in _trainable(self.method) if p not in self._reduced])

    def _wrap(self) -> None:
        """Wrap the method anew if its parameters changed in the last step, as DDP fixes them."""
        now = [(parameter, parameter.requires_grad) for parameter in self.method.parameters()]
        if self._wrapped is not None and _same(now, self._wrapped):
            return
        self._wrapped = now
        self._forward = _Losses(self.method)
        # DDP's constructor gives all processes the weights and buffers of the first.
        parallel = DistributedDataParallel(self._forward, find_unused_parameters=True)
        # DDP reduces inside one backward pass, and surgery needs several.
        if type(self.method).backward is Method.backward:
            self._forward = parallel
            self._reduced = set(_trainable(self.method))


class _Losses(nn.Module):
    """DDP prepares the gradients in `forward`, and a method's forward is its losses."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return self.method.losses(batch, progress)


def _trainable(method: Method) -> list[nn.Parameter]:
    return [parameter for parameter in method.parameters() if parameter.requires_grad]


def _same(a: list[tuple[nn.Parameter, bool]], b: list[tuple[nn.Parameter, bool]]) -> bool:
    return [(id(p), trains) for p, trains in a] == [(id(p), trains) for p, trains in b]


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    """Average gradients that DDP does not know of; None where all processes have None."""
    if not parameters:
        return
    shared = _used_anywhere(parameters)
    for parameter in shared:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    average([parameter.grad for parameter in shared if parameter.grad is not None])


def _used_anywhere(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """Those that have a gradient in some process."""
    used = torch.tensor([float(p.grad is not None) for p in parameters])
    used = used.to(parameters[0].device)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    return [p for p, someone in zip(parameters, used.tolist(), strict=True) if someone]
