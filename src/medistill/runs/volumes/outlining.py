"""What a deployed network says of whole volumes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import nn

from medistill.data.volumes.dataset import VolumeDataset
from medistill.errors import Failure
from medistill.models.segmenters.base import Answering
from medistill.runs.volumes.sizing import Sides
from medistill.windows import Rule, segment

Labels = UInt8[np.ndarray, "x y z"] | UInt8[np.ndarray, "classes x y z"]
GPU_PATCHES = 4  # at a time; on a processor one patch alone keeps all cores busy


@dataclass(frozen=True)
class Outliner:
    """A network that outlines prepared volumes window by window.

    Args:
        network: What is deployed.
        patch: Sides of a window.
        device: Where it computes.
        overlap: Share of a window that its neighbour covers too.
    """

    network: Answering
    patch: Sides
    device: torch.device
    overlap: float = 0.5

    def __call__(self, image: np.ndarray, *, per_class: bool = False) -> Labels:
        """Labels of a prepared volume: 0 is background, class c is c + 1; or a mask per class."""
        self.network.to(self.device).eval()
        return segment(
            self._probabilities,
            np.asarray(image, dtype=np.float32),
            patch=self.patch,
            classes=len(self.network.classes),
            rule=Rule(overlap=self.overlap, per_class=per_class),
            batch=1 if self.device.type == "cpu" else GPU_PATCHES,
        )

    @torch.no_grad()
    def _probabilities(
        self, patches: Float32[np.ndarray, "batch 1 a b c"]
    ) -> Float32[np.ndarray, "batch classes a b c"]:
        output = self.network(torch.from_numpy(patches).to(self.device))
        logits = output.logits.float()
        if not torch.isfinite(logits).all():
            raise Failure(
                "The student says NaN or infinity of a volume. The last checkpoint is intact. "
                "Lower training.learning_rate, or set training.gradient_clip."
            )
        return np.asarray(logits.sigmoid().cpu().numpy())


def overlapping(dataset: VolumeDataset, row: int) -> bool:
    """Whether the classes of a volume are masks of their own, which may overlap."""
    return dataset.volumes.label(row).ndim == 4


def by_task(
    deployed: Mapping[str, nn.Module], datasets: Sequence[VolumeDataset]
) -> dict[str, Answering]:
    """What a method deploys, by the names of the recipe's roots."""
    names = [dataset.task.name for dataset in datasets]
    if "all" in deployed:
        return {names[0]: answering(deployed["all"])}
    return {name: answering(deployed[name]) for name in names if name in deployed}


def answering(network: nn.Module) -> Answering:
    """A deployed network as what it is."""
    assert isinstance(network, Answering), "a segmentation deploys what answers a task's classes"
    return network
