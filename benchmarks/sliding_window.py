"""Whole volumes by patches: time and memory of medistill over MONAI's `sliding_window_inference`.

Both run the same small convolutional network by torch on the same patches, with the same weights,
overlap, batch and threads, and turn the means into labels by the same rule; the masks must be
equal, else the exit status is 1. Each measurement is a process of its own: its peak of resident
memory over what it held before (libraries, volume and network), at the first call, and the time of
the second call. Medians over the rounds and their ratios are printed. Where other work keeps the
machine busy, count the processor's time on one thread instead of the wall's:

    python benchmarks/sliding_window.py
    OMP_NUM_THREADS=1 python benchmarks/sliding_window.py --clock cpu
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from monai.inferers import sliding_window_inference
from steps import CLOCKS
from torch import Tensor, nn

from medistill.windows import Rule, gaussian, segment

VOLUME = Path("../shared/data/full_size/abdomen_mr_256.nii.gz")
MADE = (256, 256, 37)  # the same shape, where there is no such file
THRESHOLD = 0.5
SIDES = ("medistill", "monai")

Image = Float32[np.ndarray, "x y z"]
Labels = UInt8[np.ndarray, "x y z"]


def main() -> None:
    """Measure both sides in turn, and print a line for each count of classes."""
    arguments = _arguments()
    if arguments.one:
        _one(arguments)
        return
    there = arguments.volume.exists()
    print(arguments.volume if there else f"random numbers: there is no {arguments.volume}")
    print(
        f"{_image(arguments.volume).shape} voxels, patch {arguments.patch}, batch "
        f"{arguments.batch}, {torch.get_num_threads()} threads, {arguments.clock} clock"
    )
    print("medistill / monai = ratio")
    equal = [_compare(classes, arguments) for classes in arguments.classes]
    if not all(equal):
        sys.exit(1)


def _compare(classes: int, arguments: argparse.Namespace) -> bool:
    """Print the line of a count of classes; whether the masks are equal."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            for side in SIDES:
                found[side].append(_measured(side, classes, Path(folder), arguments))
        ours, theirs = (np.load(Path(folder) / f"{side}.npy") for side in SIDES)
    equal = np.array_equal(ours, theirs)
    same = "equal masks" if equal else "MASKS DIFFER"
    print(f"\n{classes} classes, {same} of {len(np.unique(ours))} labels")
    for key in ("seconds", "seconds without the network", "MB over the baseline"):
        our, their = (statistics.median(one[key] for one in found[side]) for side in SIDES)
        print(f"{key:>28}: {our:7.2f} / {their:7.2f} = {our / their:.2f}")
    return equal


def _measured(
    side: str, classes: int, folder: Path, arguments: argparse.Namespace
) -> dict[str, float]:
    """What one side takes, in a process that does nothing else."""
    command = [sys.executable, __file__, "--one", side, "--classes", str(classes),
               "--out", str(folder / f"{side}.npy"), "--volume", str(arguments.volume),
               "--batch", str(arguments.batch), "--clock", arguments.clock,
               "--patch", *map(str, arguments.patch)]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _one(arguments: argparse.Namespace) -> None:
    (classes,) = arguments.classes
    clock = CLOCKS[arguments.clock]
    image, network = _image(arguments.volume), Timed(_network(classes), clock)
    work = {"medistill": _ours, "monai": _theirs}[arguments.one]
    before = _resident()
    labels = work(network, image, arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    network.seconds, start = 0.0, clock()
    work(network, image, arguments)
    seconds = clock() - start
    np.save(arguments.out, labels)
    found = {"seconds": seconds, "seconds without the network": seconds - network.seconds}
    print(json.dumps({**found, "MB over the baseline": (peak - before) / 1e6}))


class Timed:
    """A network that counts its seconds."""

    def __init__(self, network: Callable[[Tensor], Tensor], clock: Callable[[], float]) -> None:
        self.network, self.clock, self.seconds = network, clock, 0.0

    def __call__(self, patches: Tensor) -> Tensor:
        """The network's answer."""
        start = self.clock()
        answer = self.network(patches)
        self.seconds += self.clock() - start
        return answer


@torch.inference_mode()
def _ours(network: Timed, image: Image, arguments: argparse.Namespace) -> Labels:
    def run(
        patches: Float[np.ndarray, "batch 1 a b c"],
    ) -> Float[np.ndarray, "batch classes a b c"]:
        return np.asarray(network(torch.from_numpy(patches)))

    (classes,) = arguments.classes
    return segment(
        run, image, patch=arguments.patch, classes=classes, batch=arguments.batch,
        rule=Rule(threshold=THRESHOLD),
    )  # fmt: skip


@torch.inference_mode()
def _theirs(network: Timed, image: Image, arguments: argparse.Namespace) -> Labels:
    means: Tensor = sliding_window_inference(
        torch.from_numpy(image)[None, None],
        arguments.patch,
        arguments.batch,
        network,
        overlap=0.5,
        roi_weight_map=torch.from_numpy(gaussian(arguments.patch)),
    )
    best, place = means[0].max(dim=0)
    return np.asarray(torch.where(best > THRESHOLD, place + 1, 0).to(torch.uint8))


def _network(classes: int) -> Callable[[Tensor], Tensor]:
    """Two convolutions and a probability for each class; seeded, so that both sides agree."""
    torch.manual_seed(0)
    last = nn.Conv3d(8, classes, 1)
    nn.init.normal_(last.weight, std=0.5)
    nn.init.normal_(last.bias, mean=-0.5)
    layers = [nn.Conv3d(1, 8, 3, padding=1), nn.LeakyReLU(0.01, inplace=True),
              nn.Conv3d(8, 8, 3, padding=1), nn.InstanceNorm3d(8), nn.LeakyReLU(0.01, inplace=True),
              last]  # fmt: skip
    network = nn.Sequential(*layers).eval()
    return lambda patches: network(patches).sigmoid_()


def _image(path: Path) -> Image:
    """A scan, z-scored; where there is none, noise of its shape."""
    if not path.exists():
        return np.random.default_rng(0).normal(size=MADE).astype(np.float32)
    import nibabel

    pixels = np.asarray(nibabel.load(path).dataobj, np.float32)
    return (pixels - pixels.mean()) / pixels.std()


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--classes", nargs="+", type=int, default=[5, 50])
    parser.add_argument("--patch", nargs=3, type=int, default=[64, 64, 32])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--volume", type=Path, default=VOLUME)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
