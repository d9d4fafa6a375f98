"""A segmenter whose masks a reader can check by hand, and scans to show it."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import Tensor, nn

from medistill.types import Output

CLASSES = ["bright", "very bright"]
SPACING_MM = (1.0, 2.0, 3.0)


class Brightness(nn.Module):
    """Class after class, where a voxel is more than so many deviations over the mean.

    The second class lies within the first one: as masks of their own they overlap.
    """

    def __init__(self, over: tuple[float, ...] = (0.5, 1.5)) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, len(over), 1)
        slopes = torch.tensor([2.0 * number for number in range(1, len(over) + 1)])
        with torch.no_grad():
            self.layer.weight.copy_(slopes.view(-1, 1, 1, 1, 1))
            self.layer.bias.copy_(-slopes * torch.tensor(over))

    def forward(self, images: Tensor) -> Output:
        logits = self.layer(images)
        return Output(logits, logits.flatten(2).mean(2))


def config(**changes: Any) -> dict[str, Any]:
    """A deployed segmenter's config, of which export reads a part."""
    known = {
        "task": "phantom",
        "kind": "segmentation",
        "classes": CLASSES,
        "patch": [8, 8, 4],
        "preparation": {"spacing_mm": list(SPACING_MM), "crop": False},
        "segmenter": {"name": "tiny/brightness", "options": {}},
        "vocabulary": CLASSES,
        "licences": ["CC-BY-4.0"],
    }
    return known | changes


def scan_pixels(shape: tuple[int, int, int] = (15, 12, 9), seed: int = 0) -> np.ndarray:
    """Noise of whole numbers about 100."""
    noise = np.random.default_rng(seed).normal(100, 20, shape)
    return noise.clip(0, 250).astype(np.int16)


def write_scan(
    path: Path, pixels: np.ndarray, spacing_mm: tuple[float, float, float] = SPACING_MM
) -> Path:
    """A NIfTI file with something of its own in the header."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = (-10, 5, 30)
    image = nibabel.Nifti1Image(pixels, affine)
    image.header["descrip"] = b"scanner 7"
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def expected(pixels: np.ndarray) -> np.ndarray:
    """The label map of `Brightness` by hand: clipped, z-scored, compared."""
    values = pixels.astype(float).clip(*np.percentile(pixels, (0.5, 99.5)))
    score = (values - values.mean()) / values.std()
    # The steeper class is the surer one from where both say the same.
    return np.where(score > 2.5, 2, np.where(score > 0.5, 1, 0))
