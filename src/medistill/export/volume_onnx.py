"""A segmenter as one file: a prepared patch in, a probability for each class and voxel out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from medistill.export.metadata import PROBABILITIES
from medistill.export.onnx import portable, refuse_too_large, traced, write_program
from medistill.export.parity import TOLERANCE, ParityError
from medistill.export.session import open_session
from medistill.export.volume_metadata import VolumeMetadata
from medistill.types import Output

PATCHES = "patches"


class Probabilities(nn.Module):
    """What an exported file computes.

    Args:
        network: Patches in, `Output` with a map of logits for each class out.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, patches: Float[Tensor, "batch 1 a b c"]
    ) -> Float[Tensor, "batch classes a b c"]:
        """Of each class, at each voxel; classes may overlap."""
        output: Output = self.network(patches)
        assert output.logits is not None, "a segmenter answers every class"
        return output.logits.sigmoid()


@dataclass(frozen=True)
class VolumeParity:
    """How far an exported file is from its network.

    Args:
        largest: Largest difference of a voxel's probability.
        patches: How many patches were compared.
    """

    largest: float
    patches: int


def export_segmenter(network: nn.Module, config: Mapping[str, Any], path: Path) -> None:
    """Write a segmenter and its metadata as one ONNX file.

    The input `patches` is float32 of shape (any, 1, *patch), prepared as the metadata say; the
    output `probabilities` is (any, classes, *patch).

    Args:
        network: Plain, as it is deployed: patches in, `Output` out; it is left as it is.
        config: What `VolumeMetadata.of` reads: task, classes, patch, preparation, segmenter, ...
        path: The file; one that is there already is replaced when the new one is whole.

    Raises:
        UserError: The network is too large for one file, or ONNX has no words for it.
    """
    metadata = VolumeMetadata.of(config)
    refuse_too_large(network, path)
    # Two of them, for a batch of one would be taken for a constant.
    example = torch.zeros(2, 1, *metadata.patch)
    module = Probabilities(portable(network))
    batch = {0: torch.export.Dim("batch")}
    program = traced(module, example, PATCHES, [PROBABILITIES], batch)
    write_program(program, metadata.to_json(), path)


def check_segmenter(
    path: Path, network: nn.Module, patches: Sequence[Float32[np.ndarray, "a b c"]]
) -> VolumeParity:
    """Compare a file in ONNX Runtime with its network in torch.

    Args:
        path: The exported file.
        network: What it was made from.
        patches: Real ones, from prepared validation scans.

    Raises:
        ParityError: A probability differs by more than `TOLERANCE`.
    """
    session, module = open_session(path), Probabilities(portable(network))
    largest = 0.0
    for patch in patches:
        shown = np.ascontiguousarray(patch, np.float32)[None, None]
        (theirs,) = session.run([PROBABILITIES], {PATCHES: shown})
        with torch.no_grad():
            difference = (module(torch.from_numpy(shown)) - torch.from_numpy(theirs)).abs().max()
        # What is no number is no agreement.
        largest = max(largest, float(difference.nan_to_num(torch.inf)))
    if not largest <= TOLERANCE:
        raise ParityError(
            f"{path}: a voxel's probability differs from torch by up to {largest:.2g}, more than "
            f"{TOLERANCE:g}. Do not use this file."
        )
    return VolumeParity(largest, len(patches))
