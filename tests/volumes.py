"""Small scans with masks, written as users bring them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from medistill.scans import Scan

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
SHAPE = (12, 14, 10)


def straight(spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """Axes along those of the body, first voxel at the origin."""
    return np.diag([*spacing, 1.0])


def oblique(spacing: Sequence[float] = (1.0, 1.5, 3.0), seed: int = 0) -> np.ndarray:
    """Turned by any angles, first voxel anywhere."""
    random = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(random.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turned * spacing
    affine[:3, 3] = random.normal(size=3) * 50
    return affine


def pixels(seed: int = 0, shape: Sequence[int] = SHAPE) -> np.ndarray:
    """Tissue with noise, and a margin of zeros around it."""
    random = np.random.default_rng(seed)
    values = random.normal(300, 50, shape).astype(np.float32)
    values[0], values[:, 0], values[:, :, -1] = 0, 0, 0
    return values


def label(seed: int = 0, shape: Sequence[int] = SHAPE, classes: int = 2) -> np.ndarray:
    """A block of each class, in tissue, elsewhere for another seed."""
    values = np.zeros(shape, np.uint8)
    for place in range(classes):
        start = 2 + (seed + place) % 2, 2 + seed % 3, 2 + 3 * place
        values[tuple(slice(at, at + 3) for at in start)] = place + 1
    return values


def scan(values: np.ndarray, affine: np.ndarray | None = None) -> Scan:
    return Scan(values.astype(np.float32), straight() if affine is None else affine)


def write(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, straight() if affine is None else affine), path)
    return path


def write_pairs(root: Path, count: int, affine: np.ndarray | None = None) -> list[dict[str, str]]:
    """Scans and labels in the folders of MSD; their names."""
    pairs = []
    for seed in range(count):
        image, mask = f"imagesTr/case_{seed}.nii.gz", f"labelsTr/case_{seed}.nii.gz"
        write(root / image, pixels(seed), affine)
        write(root / mask, label(seed), affine)
        pairs.append({"image": f"./{image}", "label": f"./{mask}"})
    return pairs


def write_msd(root: Path, count: int = 8, affine: np.ndarray | None = None, **told: Any) -> Path:
    """A root in the form of MSD, with classes `head` and `tail`."""
    document = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Head", "2": "Tail"},
        "training": write_pairs(root, count, affine),
        "test": ["./imagesTs/other.nii.gz"],
        **told,
    }
    (root / "dataset.json").write_text(json.dumps(document))
    return root
