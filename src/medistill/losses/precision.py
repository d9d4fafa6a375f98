"""Losses are computed in float32, in whatever precision the networks ran."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it came so."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def without_autocast(tensor: Tensor) -> AbstractContextManager[None]:
    """Inside, matrix products keep the precision of their arguments."""
    return torch.autocast(tensor.device.type, enabled=False)
