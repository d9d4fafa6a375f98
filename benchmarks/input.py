"""Images a second into training: medistill's store and loader against torchvision's usual way.

    python benchmarks/input.py [ROOT] [--size 224] [--epochs 7]

Both sides give the same split at the same size with augmentation of the same kind and strength:
torchvision's `ImageFolder` and `DataLoader` with as many workers as cores, on its faster (Pillow)
path, and `medistill.data.loading.Loader` from the second epoch on, when the store is there. They
take turns, so that a busy machine slows both; medians are compared. ROOT holds `train/<class>/`;
without one, the COVID-CT slices beside the checkout are taken, else images made here.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from medistill.data.ahead import cores
from medistill.data.augmentation import Augmentation
from medistill.data.dataset import Dataset
from medistill.data.layouts.base import open_root
from medistill.data.loading import Loader, Views
from medistill.data.store import build_store
from medistill.types import Task

BATCH, WANTED = 64, 3.0
SETTINGS = Augmentation()


def main() -> None:
    """Print both rates, their ratio, and what the costliest steps of a view take."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", nargs="?", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root or _default_root(Path(folder) / "made")
        loader = _medistill(root, arguments.size, Path(folder) / "store")
        usual = _torchvision(root, arguments.size)
        print(f"{root}: {len(loader.samples)} images at {arguments.size}, {cores()} cores")
        _compare(loader, usual, arguments.epochs)
    _print_steps(arguments.size)


def _compare(loader: Loader, usual: DataLoader[Tensor], epochs: int) -> None:
    ours, theirs = [], []
    for epoch in range(epochs + 1):
        theirs.append(_rate(lambda: (len(images) for images, _ in usual)))
        ours.append(_rate(lambda number=epoch: (len(batch) for batch in loader.epoch(number))))
    fast, slow = median(ours[1:]), median(theirs[1:])
    print(f"torchvision ImageFolder + DataLoader, {cores()} workers: {slow:8.0f} images/s")
    print(f"medistill store + Loader, from the second epoch:  {fast:8.0f} images/s")
    print(f"ratio {fast / slow:.1f} (wanted: {WANTED})")


def _rate(counts: Callable[[], Iterator[int]]) -> float:
    begin = time.perf_counter()
    images = sum(counts())
    return images / (time.perf_counter() - begin)


def _medistill(root: Path, size: int, folder: Path) -> Loader:
    layout = open_root(root)
    samples = layout.samples()
    begin = time.perf_counter()
    store = build_store(layout, samples, size=size, folder=folder)
    print(f"store of {len(samples)} images built in {time.perf_counter() - begin:.1f} s")
    classes = layout.classes()
    targets = np.array([classes.index(sample.label or "") for sample in samples])
    train = np.array([row for row, sample in enumerate(samples) if sample.split == "train"])
    task = Task(root.name, "classification", classes, len(samples))
    dataset = Dataset(task, store, targets, {"train": train}, (None,) * len(samples))
    return Loader([dataset], "train", batch_size=BATCH, views=Views(count=8))


def _torchvision(root: Path, size: int) -> DataLoader[Tensor]:
    folder = ImageFolder(str(root / "train"), v2.Compose(_usual_steps(size)))
    return DataLoader(
        folder,
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=cores(),
        persistent_workers=True,
    )


def _usual_steps(size: int) -> list[Callable[..., object]]:
    shift, scale = SETTINGS.shift, SETTINGS.scale
    return [
        v2.Resize((size, size)),
        v2.RandomAffine(
            SETTINGS.rotation_degrees,
            (shift, shift),
            (1 - scale, 1 + scale),
            interpolation=v2.InterpolationMode.BILINEAR,
        ),
        v2.ColorJitter(brightness=SETTINGS.brightness, contrast=SETTINGS.contrast),
        v2.Lambda(_random_gamma),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.GaussianNoise(sigma=SETTINGS.noise / 2),
    ]


def _random_gamma(image: Image.Image) -> Image.Image:
    exponent = 1 + SETTINGS.gamma * (2 * torch.rand(()).item() - 1)
    adjusted: Image.Image = v2.functional.adjust_gamma(image, exponent)
    return adjusted


def _print_steps(size: int) -> None:
    """Why views have no power and no fresh normal draw in them, on one core."""
    torch.set_num_threads(1)
    images = torch.rand(8, 1, size, size)
    grid = F.affine_grid(torch.eye(2, 3).expand(8, 2, 3), list(images.shape), align_corners=False)
    steps = {
        "bilinear sampling": lambda: F.grid_sample(images, grid, align_corners=False),
        "a power": lambda: images**1.1,
        "a normal draw": lambda: torch.randn_like(images),
    }
    for name, step in steps.items():
        seconds = []
        for _ in range(20):
            begin = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begin)
        print(f"{name} for each pixel: {median(seconds) / len(images) * 1e6:.0f} us a grey image")


def _default_root(made: Path) -> Path:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "covid_ct"
    return beside if beside.is_dir() else _made_images(made)


def _made_images(root: Path, count: int = 400) -> Path:
    generator = np.random.default_rng(0)
    for number in range(count):
        folder = root / "train" / ("even", "odd")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (64, 64), np.uint8))
        coarse.resize((512, 512), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    return root


if __name__ == "__main__":
    main()
