"""What each distillation method adds to a student's training step, teacher included.

A ViT-B/16's maps lie in a cache, as in a training; the loader is left out, it is the same for all.
For each method of the catalogue that distils one task it prints its step over that of the student
alone (reach for ResNet18 at 224 pixels: a median of 1.3 over the methods), the weights that it
trains beside the student's, and, for the student, the same of a second network. All steps take
turns, and medians over the rounds are printed. Where other work keeps the machine busy, count the
processor's time on one thread instead of the wall's:

    python benchmarks/compare.py
    OMP_NUM_THREADS=1 python benchmarks/compare.py --clock cpu
"""

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from steps import CLOCKS, in_turns, training_step

from medistill import catalog
from medistill.errors import UserError
from medistill.methods.base import Method
from medistill.methods.student_alone import StudentAlone
from medistill.models.backbones.base import build_backbone
from medistill.models.caching import FeatureCache, build_cache
from medistill.models.networks import Encoder, Student
from medistill.models.probes import Probe
from medistill.models.teachers import Cached, Probed, Teacher
from medistill.recipe import checked_settings
from medistill.runs.comparing.entrants import distils, label
from medistill.types import Batch, Output, Task

STUDENTS = ("torchvision/resnet18", "torchvision/shufflenet_v2_x1_0")
METHODS = "medistill.methods"
SAMPLES, CLASSES = 512, 3
WIDTH, STAGES = 768, 4  # ViT-B/16: the outputs of blocks 3, 6, 9 and 12


def main() -> None:
    """Measure every method beside every student, and print one line for each."""
    arguments = _arguments()
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads, batch {arguments.batch}, {arguments.size} pixels")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.students:
            _measure(name, Path(folder), arguments)


def _measure(name: str, folder: Path, arguments: argparse.Namespace) -> None:
    batch = _batch(arguments)
    alone = StudentAlone(_student(name, arguments.size))
    steps = {"student alone": training_step(alone, lambda: _reshuffled(batch))}
    added = {}
    for method in _methods(arguments.methods):
        try:
            built = _built(method, name, folder, arguments)
        except UserError as reason:
            print(f"{label(method)}: {reason}")
            continue
        steps[label(method)] = training_step(built, lambda: _reshuffled(batch))
        added[label(method)] = _weights(built) - _weights(_student(name, arguments.size))
    rounds = in_turns(steps, arguments.clock, arguments.rounds)
    plain = statistics.median(times["student alone"] for times in rounds)
    ratios = {m: statistics.median(r[m] / r["student alone"] for r in rounds) for m in added}
    print(f"\n{name}: {plain * 1e3:.0f} ms a step alone")
    for method, ratio in sorted(ratios.items(), key=lambda pair: pair[1]):
        print(f"{method:>24} {ratio:6.2f}  {added[method] / 1e6:7.2f} M weights more")
    print(f"{'median':>24} {statistics.median(ratios.values()):6.2f}")


def _methods(names: list[str] | None) -> list[type[Method]]:
    found = [
        catalog.find(METHODS, name, Method)  # type: ignore[type-abstract]
        for name in names or catalog.available(METHODS)
    ]
    return [method for method in found if names or distils(method)]


def _built(method: type[Method], name: str, folder: Path, arguments: argparse.Namespace) -> Method:
    """A method beside a teacher that gives what it asks for, from a cache."""
    student = _student(name, arguments.size)
    task = Task("benchmark", "classification", ("a", "b", "c"), SAMPLES)
    offered = {"student": student, "teacher": _teacher(method, student, folder, arguments),
               "tasks": (task,)}  # fmt: skip
    given = {"batch_size": arguments.batch} if "batch_size" in catalog.settings(method) else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(*(offered[key] for key in catalog.collaborators(method)), **given)


def _teacher(
    method: type[Method], student: Student, folder: Path, arguments: argparse.Namespace
) -> Teacher:
    """Maps of all scales where the method wants them, as fine as trainings keep; else the last."""
    side = arguments.size // 16
    grids = [side]
    if method.scales == "all":
        own = [shape[1:] for shape in student.encoder.shapes(arguments.size)][-STAGES:]
        *finer, _ = method.finest(own, checked_settings(method, {}, "method"))
        grids = [*(min(side, *limit) if limit else side for limit in finer), side]
    cache = folder / "-".join(map(str, grids))
    zeros = torch.zeros(CLASSES)
    probe = Probe(torch.randn(CLASSES, WIDTH), zeros, 1.0, 0.0, 0.0)
    return Probed(Cached(_random_cache(cache, grids)), probe)


def _random_cache(folder: Path, grids: list[int]) -> FeatureCache:
    def teacher(batch: Batch) -> Output:
        maps = tuple(torch.randn(len(batch), WIDTH, grid, grid) for grid in grids)
        return Output(None, maps[-1].mean((2, 3)), maps)

    def batches() -> Iterator[Batch]:
        zeros = torch.zeros(64, dtype=torch.long)
        for first in range(0, SAMPLES, 64):
            samples = torch.arange(first, first + 64)
            yield Batch(torch.zeros(64, 3, 1, 1), zeros, zeros, samples, zeros, torch.ones(64))

    return build_cache(teacher, batches(), samples=SAMPLES, views=1, folder=folder, key="random")


def _student(name: str, size: int) -> Student:
    encoder = Encoder(build_backbone(name))
    encoder.shown = size
    return Student(encoder, CLASSES)


def _weights(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _batch(arguments: argparse.Namespace) -> Batch:
    count = arguments.batch
    images = torch.rand(count, 3, arguments.size, arguments.size)
    targets, zeros = torch.arange(count) % CLASSES, torch.zeros(count, dtype=torch.long)
    return Batch(images, targets, zeros, torch.arange(count), zeros, torch.ones(count))


def _reshuffled(batch: Batch) -> Batch:
    """Other rows of the cache, each once, with the classes that they always have."""
    samples = torch.randperm(SAMPLES)[: len(batch)]
    ones = torch.ones(len(batch))
    return Batch(batch.images, samples % CLASSES, batch.tasks, samples, batch.views, ones)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--students", nargs="+", default=STUDENTS)
    parser.add_argument("--methods", nargs="+", help="all that distil one task by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    return parser.parse_args()


if __name__ == "__main__":
    main()
