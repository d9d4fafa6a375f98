"""Some right and some wrong answers as pictures, and where the networks saw evidence for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medistill.analysis.gradcam import grad_cam
from medistill.evaluation.predict import probabilities_of
from medistill.export.overlay import beside, heat, overlaid, save_png, shown
from medistill.runs.console import Console
from medistill.runs.features import Seen
from medistill.runs.subjects import Looked, images_of

SIDE = 224  # longer side of a picture, in pixels


def draw_overlays(
    looked: Looked,
    seen: Seen,
    count: int,
    folder: Path,
    device: torch.device,
    console: Console,
) -> dict[str, Any]:
    """Overlays of some images, for the class that the first run calls them.

    Args:
        looked: Its networks that answer are drawn side by side, but for those without a map that
            their answers depend on.
        seen: What the first run said of the split.
        count: How many images, half of them wrongly called where there are so many.
        folder: Where the pictures go, without a name.
        device: Where the networks lie.
        console: Where to say which are left out.

    Returns:
        Plain values that say what is on each picture.
    """
    rows = looked.opened.dataset.splits[looked.split]
    targets = looked.opened.dataset.targets[rows]
    assert seen.logits is not None
    sure = probabilities_of(seen.logits.numpy(), looked.first.temperature)
    chosen = choose(targets, sure, count)
    called = torch.from_numpy(sure.argmax(1))
    maps = _maps(looked, rows[chosen], called[chosen], device, console)
    index = []
    for number, place in enumerate(chosen if maps else ()):
        file = f"{number + 1:03d}.png"
        _save(looked, int(rows[place]), [each[number] for _, each in maps], folder / file)
        index.append({
            "file": file,
            "target": looked.classes[targets[place]],
            "called": looked.classes[called[place]],
            "probability": float(sure[place].max()),
        })  # fmt: skip
    return {"names": [name for name, _ in maps], "images": index}


def choose(targets: NDArray[np.int64], probabilities: NDArray[np.float32], count: int) -> list[int]:
    """Places of images that were called rightly, then of others, the surest of each class first.

    Args:
        targets: Class of each image; -1 where it is not known.
        probabilities: Of each class.
        count: How many in all; where one kind is rare the other fills its place.
    """
    called, sure = probabilities.argmax(1), probabilities.max(1)
    right, wrong = (_in_turn(targets, sure, (called == targets) == kind) for kind in (True, False))
    half = max(count - count // 2, count - len(wrong))
    return right[:half] + wrong[: count - min(half, len(right))]


def _in_turn(
    targets: NDArray[np.int64], sure: NDArray[np.float32], among: NDArray[np.bool_]
) -> list[int]:
    """Places of some images: the surest of each class, then the second of each, and so on."""
    ranked: list[tuple[int, int]] = []
    for each in np.unique(targets[targets >= 0]):
        places = np.flatnonzero((targets == each) & among)
        ranked += enumerate(places[np.argsort(-sure[places], kind="stable")].tolist())
    return [place for _, place in sorted(ranked)]


def _maps(
    looked: Looked,
    rows: Sequence[int] | NDArray[np.int64],
    called: Tensor,
    device: torch.device,
    console: Console,
) -> list[tuple[str, NDArray[np.float32]]]:
    """Name and Grad-CAM of every network that answers and has one, image by image."""
    images, classes = images_of(looked.opened, rows).to(device), called.to(device)
    found = []
    for subject in looked.answering:
        assert subject.network is not None
        evidence = grad_cam(subject.network, images, classes)
        if evidence is None:
            console.warn(f"{subject.name} is left out of the overlays: its head reads no map.")
        else:
            found.append((subject.name, evidence.float().cpu().numpy()))
    return found


def _save(looked: Looked, row: int, maps: Sequence[NDArray[np.float32]], path: Path) -> None:
    """The picture as its file holds it, then under the evidence of each network."""
    pixels = shown(looked.opened.layout.read(looked.opened.samples[row]), sides=(SIDE, SIDE))
    over = [overlaid(pixels, heat(each, *pixels.shape[:2])) for each in maps]
    save_png(beside([pixels, *over]), path)
