"""What a network costs: parameters, multiply-accumulates (MACs) and bytes.

One MAC is a multiplication and an addition, so FLOPs are twice the MACs. Convolutions and matrix
products count, those of attention among them; normalisation, activation and pooling do not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import chain

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """What a network holds, and what one input costs it.

    Args:
        parameters: Numbers that training moves, shared ones once; buffers are left out.
        macs: Multiply-accumulates for one input.
        convolution_macs: Those of convolutions, the part that papers print.
        bytes: Of everything a weight file holds, shared tensors once.
    """

    parameters: int
    macs: int
    convolution_macs: int
    bytes: int

    @property
    def flops(self) -> int:
        """Floating-point operations for one input: two a MAC."""
        return 2 * self.macs

    def as_dict(self) -> dict[str, int]:
        """Every quantity by name, as `cost.json` holds it."""
        return {**asdict(self), "flops": self.flops}

    def __str__(self) -> str:
        return (
            f"{self.parameters / 1e6:.2f} M parameters (10^6), {self.macs / 1e9:.3f} GMACs = "
            f"{self.flops / 1e9:.3f} GFLOPs (10^9) per input, {self.bytes / 1e6:.2f} MB (10^6)"
        )


def cost(network: nn.Module, shape: Sequence[int]) -> Cost:
    """Cost of a whole network, heads included: give it a backbone to leave them out.

    Nothing is computed and nothing is copied: shapes alone run through the network, in evaluation
    mode, and the network stays as it was.

    Args:
        network: In 2D or 3D, on any device.
        shape: Of one input, without the batch: (channels, *space).
    """
    # A buffer that is not persistent is rebuilt by the code, and lies in no file.
    state = network.state_dict().keys()
    named = chain(network.named_parameters(), network.named_buffers())
    stored = [tensor for name, tensor in named if name in state]
    macs, convolutions = _macs(network, shape)
    return Cost(
        sum(parameter.numel() for parameter in network.parameters()),
        macs,
        convolutions,
        sum(tensor.numel() * tensor.element_size() for tensor in stored),
    )


def cost_together(networks: Sequence[nn.Module]) -> dict[str, int]:
    """Parameters and bytes of several networks, where what they share counts once.

    Tensors of one name that are equal in every bit are one: a shared encoder, or the shared part of
    a pair. Whoever keeps several networks need keep no more.
    """
    parameters: dict[tuple[str, bytes], int] = {}
    stored: dict[tuple[str, bytes], int] = {}
    for network in networks:
        trained = {name for name, _ in network.named_parameters()}
        for name, tensor in network.state_dict().items():
            key = name, sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).digest()
            stored[key] = tensor.numel() * tensor.element_size()
            if name in trained:
                parameters[key] = tensor.numel()
    return {"parameters": sum(parameters.values()), "bytes": sum(stored.values())}


def ratios(
    student: Mapping[str, float | int | None], teacher: Mapping[str, float | int | None]
) -> dict[str, float]:
    """Student over teacher, for every quantity that both know and the teacher has any of."""
    pairs = ((name, value, teacher.get(name)) for name, value in student.items())
    return {name: own / whole for name, own, whole in pairs if own is not None and whole}


def _macs(network: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    # Without data attention is plain matrix products, and torch's fused kernels are not called:
    # counters of some releases take those for nothing (pytorch#195460).
    named = chain(network.named_parameters(), network.named_buffers())
    empty = {name: torch.empty_like(tensor, device="meta") for name, tensor in named}
    dtype = next((tensor.dtype for tensor in empty.values() if tensor.is_floating_point()), None)
    image = torch.empty(1, *shape, device="meta", dtype=dtype)
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(network, empty, image)
    finally:
        for module, mode in modes:
            module.training = mode
    flops = counter.get_flop_counts().get("Global", {})
    convolutions = flops.get(torch.ops.aten.convolution, 0)
    return counter.get_total_flops() // 2, convolutions // 2
