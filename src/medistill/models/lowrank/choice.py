"""Which algorithm convolves a batch fastest: one decision, from shapes, task counts and device.

A 1 x 1 convolution gathers a weight for each image where that is fewer numbers than the image
itself goes in and comes out with; with fewer pixels it goes through the factors.

Elsewhere, building the weights of T tasks takes T r k |W| multiplications, and going through the
factors N |W| r (k / Cout + k² / (taps Cin)) for N rows, of which each output position is one. Both
are equal where a task has `1 / (1 / Cout + k / (taps Cin))` rows. Built weights also travel through
memory, so that building pays only from a multiple of that on. Which was measured layer by layer in
fp32 on one thread of an AMD EPYC (AVX2), r = 8: see `docs/evidence/experts.md`.
"""

from collections.abc import Sequence
from math import prod

import torch

from medistill.models.lowrank.algorithms import Algorithm, chunk, factored, gather, windowed
from medistill.models.lowrank.geometry import Geometry, Sizes
from medistill.models.lowrank.routing import Team

BUILT = 3.5  # 64 -> 128 channels: equal at 2; 128 -> 128: at 4 to 5; 256 -> 256: at 1.3 not yet


def choose(layer: Geometry, space: Sizes, teams: Sequence[Team], device: torch.device) -> Algorithm:
    """The algorithm for one convolution of one batch.

    Args:
        layer: The convolution.
        space: Of the images that go in.
        teams: Of all samples.
        device: Where to compute. On a GPU nothing was measured: what makes few calls is preferred.
    """
    pixels = prod(layer.plane(space))
    if layer.pointwise:
        # 58 channels at 8 x 8: 2.7 ms against 4.9; 116 at 4 x 4: 3.3 against 3.1
        many = pixels * (layer.inputs + layer.outputs) > layer.inputs * layer.outputs
        return gather if many else factored
    tasks = sum(len(team.tasks) for team in teams)
    rows = pixels * sum(sum(team.counts) for team in teams) / tasks
    equal = 1 / (1 / layer.outputs + layer.first / (prod(layer.kernel) * layer.inputs))
    if rows > BUILT * equal:
        return chunk
    # A plane smaller than the kernel: the library's convolution mostly meets padding, and its
    # reordering of the weight costs more than the product (512 channels at 2 x 2: twice as much).
    small = pixels < prod(layer.kernel)
    return windowed if small or device.type != "cpu" else factored
