"""What a cached teacher, and φ behind it, add to a student's training step.

Prints, for each student and each φ: (a) what the teacher adds, as a share of the student's own
step (reach: 0.1 for ResNet18), and (b) the step of Reprogramming Distillation over that of the
student alone (reach: 1.3 for ResNet18), with φ's share apart. The loader is left out: it is the
same on both sides, so that the ratios of whole epochs are lower. All steps take turns, and medians
over the rounds are printed. Where other work keeps the machine busy, count the processor's time on
one thread instead of the wall's:

    python benchmarks/teacher_cache.py
    OMP_NUM_THREADS=1 python benchmarks/teacher_cache.py --clock cpu
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from steps import CLOCKS, Step, in_turns, training_step

from medistill.methods._settings import Reprogramming
from medistill.methods.reprogramming_distillation import ReprogrammingDistillation
from medistill.methods.student_alone import StudentAlone
from medistill.models.backbones.base import build_backbone
from medistill.models.caching import FeatureCache, build_cache
from medistill.models.networks import Encoder, Student
from medistill.models.teachers import Cached
from medistill.types import Batch, Output

STUDENTS = ("torchvision/resnet18", "torchvision/shufflenet_v2_x1_0")
PHIS = {
    "2 BasicBlocks": Reprogramming(),
    "1 BasicBlock": Reprogramming(blocks=1),
    "2 bottlenecks": Reprogramming(bottleneck=True),
    "1 bottleneck": Reprogramming(blocks=1, bottleneck=True),
    "pooled MLP": Reprogramming(),
}
SAMPLES = 512
VIT_WIDTH = 768


def main() -> None:
    """Measures every pair of student and φ, and prints one line for each."""
    arguments = _arguments()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        maps = Cached(_random_cache(Path(folder) / "maps", arguments.grid))
        vectors = Cached(_random_cache(Path(folder) / "vectors", 1))
        print(
            f"{torch.get_num_threads()} threads, batch {arguments.batch}, {arguments.size} pixels"
        )
        for name in arguments.students:
            _measure(name, maps, vectors, arguments)


def _measure(name: str, maps: Cached, vectors: Cached, arguments: argparse.Namespace) -> None:
    batch = _batch(arguments)
    alone = StudentAlone(_student(name)).to(memory_format=_memory_format(arguments))
    steps: dict[str, Step] = {"student": training_step(alone, lambda: _reshuffled(batch))}
    steps["gather maps"] = lambda: maps(_reshuffled(batch))
    steps["gather vectors"] = lambda: vectors(_reshuffled(batch))
    for phi, setting in PHIS.items():
        teacher = vectors if phi == "pooled MLP" else maps
        method = ReprogrammingDistillation(_student(name), teacher, reprogramming=setting)
        method.to(memory_format=_memory_format(arguments))
        steps[phi] = training_step(method, lambda: _reshuffled(batch))
        steps[f"φ {phi}"] = _phi_alone(method.reprogram, teacher(batch))
    rounds = in_turns(steps, arguments.clock, arguments.rounds)
    seconds = statistics.median(times["student"] for times in rounds)
    print(f"\n{name}: {seconds * 1e3:.0f} ms a step alone")
    _print({s: statistics.median(r[s] / r["student"] for r in rounds) for s in steps})


def _print(ratios: dict[str, float]) -> None:
    print(f"{'φ':>13} | (a) teacher / student | (b) RD / student | φ / student")
    for phi in PHIS:
        added = ratios["gather vectors" if phi == "pooled MLP" else "gather maps"]
        print(f"{phi:>13} | {added:21.4f} | {ratios[phi]:16.2f} | {ratios[f'φ {phi}']:.2f}")


def _phi_alone(phi: torch.nn.Module, output: Output) -> Step:
    def step() -> None:
        phi(output).square().mean().backward()
        phi.zero_grad()

    return step


def _student(name: str) -> Student:
    return Student(Encoder(build_backbone(name)), classes=2)


def _batch(arguments: argparse.Namespace) -> Batch:
    size, count = arguments.size, arguments.batch
    images = torch.rand(count, 3, size, size).contiguous(memory_format=_memory_format(arguments))
    targets, zeros = torch.arange(count) % 2, torch.zeros(count, dtype=torch.long)
    return Batch(images, targets, zeros, torch.arange(count), zeros, torch.ones(count))


def _reshuffled(batch: Batch) -> Batch:
    samples = torch.randint(SAMPLES, (len(batch),))
    return Batch(
        batch.images, batch.targets, batch.tasks, samples, batch.views, torch.ones(len(batch))
    )


def _random_cache(folder: Path, grid: int) -> FeatureCache:
    def teacher(batch: Batch) -> Output:
        maps = torch.randn(len(batch), VIT_WIDTH, grid, grid)
        return Output(None, maps.mean((2, 3)), (maps,) if grid > 1 else ())

    def batches() -> Iterator[Batch]:
        zeros = torch.zeros(64, dtype=torch.long)
        for first in range(0, SAMPLES, 64):
            samples = torch.arange(first, first + 64)
            yield Batch(torch.zeros(64, 3, 1, 1), zeros, zeros, samples, zeros, torch.ones(64))

    return build_cache(teacher, batches(), samples=SAMPLES, views=1, folder=folder, key="random")


def _memory_format(arguments: argparse.Namespace) -> torch.memory_format:
    return torch.channels_last if arguments.channels_last else torch.contiguous_format


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--students", nargs="+", default=STUDENTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--grid", type=int, default=7)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    return parser.parse_args()


if __name__ == "__main__":
    main()
