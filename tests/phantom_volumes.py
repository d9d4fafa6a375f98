"""Data sets of tiny scans: boxes of two organs in noise, in the forms that users bring."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]


def make_msd(root: Path, *, cases: int = 10, shape: Shape = (14, 12, 10)) -> Path:
    """Brain scans with a `head` and a `tail`, listed by a dataset.json, in RAS at 1 mm."""
    pairs = []
    for number in range(cases):
        image, label = f"imagesTr/brain_{number}.nii.gz", f"labelsTr/brain_{number}.nii.gz"
        _write(root, image, label, _organs(shape, number), np.diag([1.0, 1.0, 1.0, 1.0]))
        pairs.append({"image": f"./{image}", "label": f"./{label}"})
    told = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "head", "2": "tail"},
        "training": pairs,
    }
    (root / "dataset.json").write_text(json.dumps(told))
    return root


def make_nnunet(root: Path, *, cases: int = 8, shape: Shape = (12, 16, 7)) -> Path:
    """Abdomen scans with a `liver` and a `spleen`, in nnU-Net's form, in LPS with thick slices."""
    for number in range(cases):
        image, label = f"imagesTr/a_{number}_0000.nii.gz", f"labelsTr/a_{number}.nii.gz"
        _write(root, image, label, _organs(shape, 100 + number), np.diag([-2.0, -2.0, 4.0, 1.0]))
    told = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "liver": 1, "spleen": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(told))
    return root


def _organs(shape: Shape, seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A scan with a bright and a very bright box; and where they are."""
    random = np.random.default_rng(seed)
    image = random.normal(100, 5, shape).astype(np.float32)
    label = np.zeros(shape, np.uint8)
    for value in (1, 2):
        low = [int(random.integers(0, side // 2 - 1)) + (value - 1) * side // 2 for side in shape]
        box = tuple(slice(at, at + max(2, side // 3)) for at, side in zip(low, shape, strict=True))
        label[box] = value
        image[box] += 80 * value
    return image, label


def _write(
    root: Path,
    image: str,
    label: str,
    made: tuple[NDArray[np.float32], NDArray[np.uint8]],
    affine: NDArray[np.float64],
) -> None:
    import nibabel

    for name, array in zip((image, label), made, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, affine), root / name)
