"""Where a step computes, in which precision, and how its images lie in memory."""

from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.training.distributed import local_rank
from medistill.types import Batch

Precision = Literal["fp32", "bf16", "fp16"]

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# Training step in fp32, batch 32, one thread of an AMD EPYC: how much faster channels-last is at
# 112 and at 224 pixels. ResNet18 1.16, 1.06; ShuffleNetV2 1.10, 1.12; MobileNetV2 1.46, 1.68.
# In 3D, on 40 x 56 x 40 voxels: a U-Net of 16 to 128 channels 1.22, one of 8 to 64 channels 1.40.
# On CUDA it is the layout of the tensor cores (not measured here).
CHANNELS_LAST_PAYS = {"cpu", "cuda"}
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by a tensor's axes


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name; `auto` is the GPU where there is one.

    Under `torchrun` a plain `cuda` is the GPU of the process's place on its machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"training.device {name!r} is unknown. Write auto, cpu or cuda.") from None
    return _gpu(device, name) if device.type == "cuda" else device


def _gpu(device: torch.device, name: str) -> torch.device:
    """The one that is named, or the process's own; it has to be there."""
    index = local_rank() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise UserError(
            f"training.device {name!r}: there is no GPU {index}, torch {torch.__version__} sees "
            f"{torch.cuda.device_count()}. Write cpu, or start fewer processes."
        )
    return torch.device("cuda", index)


class Arithmetic:
    """The precision of the networks, and the loss scaling without which fp16 loses gradients.

    Args:
        precision: `fp32`, or what the networks' products are computed in; weights stay fp32.
        device: Where they are computed.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self.device = device
        self.dtype = DTYPES[precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def autocast(self) -> AbstractContextManager[None]:
        """Inside, networks run in the chosen precision."""
        enabled = self.dtype is not None
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=enabled)

    def scaled(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses as the backward pass should see them."""
        return {name: self.scaler.scale(loss) for name, loss in losses.items()}


def place(method: nn.Module, device: torch.device) -> None:
    """Move a method to a device; its parameters stay the same objects.

    Weights of convolutions come to lie channels-last where that pays.
    """
    method.to(device)
    if device.type in CHANNELS_LAST_PAYS:
        for parameter in method.parameters():
            if parameter.ndim in CHANNELS_LAST:
                layout = CHANNELS_LAST[parameter.ndim]
                parameter.data = parameter.data.contiguous(memory_format=layout)


def placed(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device, images channels-last where `place` puts weights so."""
    layout = CHANNELS_LAST.get(batch.images.ndim) if device.type in CHANNELS_LAST_PAYS else None
    return batch.to(device, memory_format=layout)
