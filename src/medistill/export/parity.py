"""Does an exported file say what the network in torch says?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from jaxtyping import Float
from torch import Tensor, nn

from medistill.data.formats import Picture
from medistill.errors import Failure
from medistill.export.metadata import Metadata
from medistill.export.onnx import portable
from medistill.export.runtime import Model, three_channels
from medistill.resampling import resize

TOLERANCE = 1e-3  # of a probability; float error alone stays below 1e-5
# Resized values are rounded to 8 bits, and one within float error of a half may fall to either
# side. That changes a pixel by one level: 3 % of real images at 224 had one such pixel, and it
# moved a probability of an untrained ShuffleNet by 3e-3.
NEAR_HALF = 1e-3


class ParityError(Failure):
    """An exported file does not give the probabilities of the network that it was made from."""


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from its network.

    Args:
        largest: Largest difference of a probability.
        pictures: How many pictures were compared.
        rounded: How many of them differ by more than `TOLERANCE`, and only because a pixel lay
            between two levels and was rounded to the other one.
    """

    largest: float
    pictures: int
    rounded: int = 0


def check_parity(
    path: Path, network: nn.Module, config: Mapping[str, Any], pictures: Sequence[Picture]
) -> Parity:
    """Compare a file in ONNX Runtime with its network in torch, each with its own preprocessing.

    Args:
        path: The exported file.
        network: What it was made from.
        config: As for `export_onnx`.
        pictures: Real ones: validation images as their files hold them.

    Raises:
        ParityError: A probability differs by more than `TOLERANCE`, and not for a rounded pixel.
    """
    both = _Both(path, portable(network), Metadata.of(config))
    differences = [both.difference(picture) for picture in pictures]
    over = [index for index, found in enumerate(differences) if not found <= TOLERANCE]  # or NaN
    wrong = [differences[index] for index in over if not both.rounded(pictures[index])]
    if wrong:
        raise ParityError(
            f"{path}: on {len(wrong)} of {len(differences)} images a probability differs from "
            f"torch by up to {max(wrong):.2g}, more than {TOLERANCE:g}. Do not use this file."
        )
    return Parity(max(differences, default=0.0), len(differences), len(over))


@torch.no_grad()
def in_torch(
    network: nn.Module, config: Mapping[str, Any], picture: Picture
) -> Float[Tensor, " classes"]:
    """Probabilities by the steps of training: resized to 8 bits, grey made three channels."""
    metadata = Metadata.of(config)
    stored = _resized(picture, metadata.size).round().clamp(0, 255).to(torch.uint8)
    return _answer(network, stored, metadata.temperature)


class _Both:
    """One picture after the other through ONNX Runtime and through torch."""

    def __init__(self, path: Path, network: nn.Module, metadata: Metadata) -> None:
        self.path = path
        self.model = Model(path)
        self.network = network
        self.metadata = metadata

    def difference(self, picture: Picture) -> float:
        stored = _resized(picture, self.metadata.size).round()
        return self._distance(stored, self.model.predict(picture))

    def rounded(self, picture: Picture) -> bool:
        """Whether the two agree but for pixels that torch had to round near a half."""
        image = three_channels(picture)[None]
        probabilities, *_, pixels = self._open.run(None, {"image": image})
        exact = _resized(picture, self.metadata.size).expand(3, -1, -1)
        theirs = torch.from_numpy(pixels[0])
        near_half = (exact - exact.floor() - 0.5).abs() < NEAR_HALF
        moved = (theirs != exact.round()) & ~(near_half & ((theirs - exact).abs() < 1))
        return not moved.any() and self._distance(theirs, probabilities[0]) <= TOLERANCE

    @torch.no_grad()
    def _distance(self, pixels: Tensor, probabilities: Float[np.ndarray, " classes"]) -> float:
        ours = _answer(self.network, pixels, self.metadata.temperature)
        return float(np.abs(ours.numpy() - probabilities).max())

    @cached_property
    def _open(self) -> onnxruntime.InferenceSession:
        """The file with its rounded pixels as its last output."""
        model = onnx.load(self.path)
        rounding = next(node for node in model.graph.node if node.op_type == "Round")
        pixels = onnx.helper.make_tensor_value_info(
            rounding.output[0], onnx.TensorProto.FLOAT, [1, 3, None, None]
        )
        model.graph.output.append(pixels)
        return onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )


def _resized(picture: Picture, size: int) -> Float[Tensor, "channels size size"]:
    return resize(torch.tensor(picture.pixels).permute(2, 0, 1).float(), size)


def _answer(network: nn.Module, pixels: Tensor, temperature: float) -> Float[Tensor, " classes"]:
    logits: Tensor = network(pixels.float().expand(3, -1, -1)[None] / 255).logits
    return (logits[0] / temperature).softmax(dim=0)
