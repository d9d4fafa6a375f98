"""What a way of training several tasks costs: its step over that of one encoder for all.

Every method of the catalogue that trains several tasks without a teacher takes a step on the same
mixed batch; all take turns, and medians over the rounds are printed. The loader is left out, it is
the same for all. Where other work keeps the machine busy, count the processor's time on one thread:

    python benchmarks/tasks.py
    OMP_NUM_THREADS=1 python benchmarks/tasks.py --clock cpu --tasks 4 10
"""

import argparse
import statistics

import torch
from steps import CLOCKS, in_turns, training_step

from medistill import catalog
from medistill.methods.base import Method
from medistill.models.backbones.base import build_backbone
from medistill.models.networks import Encoder, Student
from medistill.types import Batch, Task

METHODS = "medistill.methods"
REFERENCE = "multi_task"
CLASSES = 3


def main() -> None:
    """Measure every method with every number of tasks, and print one line for each."""
    arguments = _arguments()
    torch.manual_seed(0)
    print(
        f"{arguments.student}, {torch.get_num_threads()} threads, batch {arguments.batch}, "
        f"{arguments.size} pixels"
    )
    for count in arguments.tasks:
        _measure(count, arguments)


def _measure(count: int, arguments: argparse.Namespace) -> None:
    batch = _batch(count, arguments)
    methods = _methods(count, arguments)
    steps = {name: training_step(method, lambda: batch) for name, method in methods.items()}
    rounds = in_turns(steps, arguments.clock, arguments.rounds)
    plain = statistics.median(times[REFERENCE] for times in rounds)
    print(f"\n{count} tasks: {plain * 1e3:.0f} ms a step of {REFERENCE}")
    for name in steps:
        ratio = statistics.median(times[name] / times[REFERENCE] for times in rounds)
        print(f"{name:>24} {ratio:6.2f}")


def _methods(count: int, arguments: argparse.Namespace) -> dict[str, Method]:
    """Those that take tasks and no teacher, each with a student of its own."""
    tasks = tuple(
        Task(f"task {place}", "classification", ("a", "b", "c"), samples=arguments.batch)
        for place in range(count)
    )
    found = {}
    for name in catalog.available(METHODS):
        method = catalog.find(METHODS, name, Method)  # type: ignore[type-abstract]
        if set(catalog.collaborators(method)) == {"student", "tasks"}:
            found[name] = method(_student(arguments), tasks)  # type: ignore[call-arg]
    return found


def _student(arguments: argparse.Namespace) -> Student:
    encoder = Encoder(build_backbone(arguments.student))
    encoder.shown = arguments.size
    return Student(encoder, CLASSES)


def _batch(tasks: int, arguments: argparse.Namespace) -> Batch:
    count = arguments.batch
    images = torch.rand(count, 3, arguments.size, arguments.size)
    places, zeros = torch.randperm(count) % tasks, torch.zeros(count, dtype=torch.long)
    targets = torch.arange(count) % CLASSES
    return Batch(images, targets, places, torch.arange(count), zeros, torch.ones(count))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--student", default="torchvision/shufflenet_v2_x1_0")
    parser.add_argument("--tasks", nargs="+", type=int, default=(4, 10))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    return parser.parse_args()


if __name__ == "__main__":
    main()
