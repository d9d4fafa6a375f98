"""Several processes, on one machine or several, that train one method together.

`torchrun` starts them and tells each its place in the environment. Without it every function here
does what one process needs, so that callers have no cases.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist

from medistill.errors import UserError

T = TypeVar("T")


def local_rank() -> int:
    """The place of this process on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def rank() -> int:
    """The place of this process among all, from 0."""
    return dist.get_rank() if _together() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _together() else 1


def main_process() -> bool:
    """Whether this process is the one that writes files and talks."""
    return rank() == 0


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Inside, the processes that `torchrun` started know each other; without it nothing happens.

    They speak NCCL between GPUs and gloo between CPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    _refuse_missing_environment()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # The others wait while the main process decodes, or asks the teacher: that may take hours.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(days=1))
    try:
        with warnings.catch_warnings():
            # Channels-last weights have gradients of either layout; DDP copies, and says so.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
            yield
    finally:
        dist.destroy_process_group()


def barrier() -> None:
    """Wait until every process is here."""
    gathered_objects(None)


def broadcast_object(value: T) -> T:
    """The main process's value, on every process."""
    if not _together():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def gathered_objects(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks."""
    if not _together():
        return [value]
    values: list[T | None] = [None] * world()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def gathered(rows: np.ndarray) -> np.ndarray:
    """The rows of all processes, in the order of their ranks; their numbers may differ.

    Predictions come back in another order than one process's: gather the samples too, and sort.
    """
    return np.concatenate(gathered_objects(rows))


@torch.no_grad()  # torch 2.8 refuses to write into gradients that are views of one tensor, without
def average(tensors: list[torch.Tensor]) -> None:
    """Replace tensors by their mean over the processes, in one message."""
    if not tensors or not _together():
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world()
    means = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, mean in zip(tensors, means, strict=True):
        tensor.copy_(mean.view_as(tensor))


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def _refuse_missing_environment() -> None:
    needed = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if name not in os.environ]
    if missing:
        raise UserError(
            f"WORLD_SIZE is set without {', '.join(missing)}. Start with torchrun, or unset it."
        )
