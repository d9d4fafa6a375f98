"""What low-rank experts add to a training step: LoRKD's mixed batches over the plain network.

For each cell (network, pixels, batch, tasks) it prints the time of a plain step (forward, backward,
SGD with momentum), and over it the time and peak memory of the network with experts. Beside them
stand floors: the multiplications of the cheaper exact way of each layer over the plain ones; the
numbers that must travel for the experts' sake over those that travel anyway; and the memory of
nothing but the experts and their momentum. Asked for, two other forms: `literal`, the published one
(a weight for each sample out of a stack of all experts times a one-hot matrix, and as many groups),
and `flora` (multiplicative: another class of functions).

    python benchmarks/experts.py                                # a cell of each network
    python benchmarks/experts.py --grid                         # all of them: hours
    python benchmarks/experts.py --network resnet18 --tasks 4 10 32 --beside literal flora
    python benchmarks/experts.py --layout contiguous            # trainings go channels-last

The steps of a cell take turns, and the median of their ratios is printed. Where other work keeps
the machine busy, count the processor's time on one thread (`OMP_NUM_THREADS=1`, `--clock cpu`).
Memory is that of tensors as they come and go; a library's scratch inside one operation is not seen.
"""

import argparse
import copy
import statistics
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
import torchvision
from steps import CLOCKS, Step
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from medistill.models.lowrank.convolution import ExpertConvolution
from medistill.models.lowrank.experts import Decomposed, with_experts
from medistill.models.lowrank.factors import Expert
from medistill.models.lowrank.geometry import Geometry, change
from medistill.models.segmenters._unet3d import Plan, UNet3d, triples
from medistill.training.devices import CHANNELS_LAST, place

WIDTHS = (32, 64, 128, 256, 512)
RANK = 8
SIZES = {"shufflenet": (64, 224), "resnet18": (64, 224), "encoder3d": (32,)}
LAYOUTS = ("channels-last", "contiguous")  # of images and weights in memory; first, as in training
QUICK = [("shufflenet", 64, 64, 10), ("resnet18", 64, 64, 10), ("encoder3d", 32, 4, 4)]
LITERAL = (
    3 * 2**30
)  # bytes of the largest layer's stack for all samples; above, the form is left out


@dataclass(frozen=True)
class Cell:
    """One line of the table."""

    network: str
    size: int
    batch: int
    tasks: int

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Images, and the task of each: as many of each task as can be, in any order."""
        shape = (3, *[self.size] * (3 if self.network == "encoder3d" else 2))
        tasks = torch.arange(self.tasks).repeat(self.batch)[: self.batch]
        return torch.rand(self.batch, *shape), tasks[torch.randperm(self.batch)]


def main() -> None:
    """Measure each cell, and print its line as soon as it is there."""
    arguments = _arguments()
    torch.manual_seed(0)
    print(
        f"{torch.get_num_threads()} threads, {arguments.device}, {arguments.layout}, rank {RANK}; "
        "over the plain step"
    )
    print(
        "| network | pixels | batch | T | plain | time | memory | floors: operations | bytes |"
        " memory | over literal: time | memory | FLoRA: time | memory |"
    )
    print("|---" * 14 + "|")
    for cell in _cells(arguments):
        print(_line(cell, arguments), flush=True)


def _cells(arguments: argparse.Namespace) -> list[Cell]:
    if not (arguments.network or arguments.grid):
        return [Cell(*quick) for quick in QUICK]
    names = arguments.network or list(SIZES)
    return [
        Cell(name, size, batch, tasks)
        for name in names
        for size, batch, tasks in product(
            arguments.size or SIZES[name], arguments.batch or (32, 64, 128, 256), arguments.tasks
        )
    ]


def _line(cell: Cell, arguments: argparse.Namespace) -> str:
    images, tasks = (tensor.to(arguments.device) for tensor in cell.inputs())
    network = _network(cell.network).to(arguments.device)
    decomposed = with_experts(network, [RANK] * cell.tasks)
    if arguments.layout == LAYOUTS[0]:
        images = images.contiguous(memory_format=CHANNELS_LAST[images.ndim])
        for each in (network, decomposed):
            place(each, torch.device(arguments.device))
    steps = {"plain": _step(network, images), "experts": _routed(decomposed, images, tasks)}
    if "literal" in arguments.beside and _literal_bytes(decomposed, cell) < LITERAL:
        literal = _replaced(decomposed, lambda layer: Literal(layer, decomposed, tasks))
        steps["literal"] = _step(literal, images)
    if "flora" in arguments.beside:
        steps["flora"] = _step(_replaced(decomposed, lambda layer: Flora(layer, tasks)), images)
    times = _times(steps, CLOCKS[arguments.clock], arguments)
    peaks = {name: _peak(step, arguments.device) for name, step in steps.items()}
    ratio = {name: _median_ratio(times[name], times["plain"]) for name in steps}
    floors = _floors(decomposed, images, tasks, peaks["plain"])
    fields = [f"{statistics.median(times['plain']) * 1e3:.0f} ms", f"{ratio['experts']:.2f}"]
    fields += [f"{peaks['experts'] / peaks['plain']:.2f}", *(f"{floor:.2f}" for floor in floors)]
    fields += _beside("literal", ratio, peaks, inverse=True) + _beside("flora", ratio, peaks)
    named = [cell.network, str(cell.size), str(cell.batch), str(cell.tasks)]
    return "| " + " | ".join(named + fields) + " |"


def _beside(
    name: str, ratio: dict[str, float], peaks: dict[str, int], *, inverse: bool = False
) -> list[str]:
    """Experts over the literal form; FLoRA over the plain network."""
    if name not in ratio:
        return ["-", "-"]
    if inverse:
        return [
            f"1 / {ratio[name] / ratio['experts']:.1f}",
            f"1 / {peaks[name] / peaks['experts']:.1f}",
        ]
    return [f"{ratio[name]:.1f}", f"{peaks[name] / peaks['plain']:.1f}"]


# What is measured


def _network(name: str) -> nn.Module:
    if name == "encoder3d":
        return _encoder3d()
    builders: dict[str, Callable[[], nn.Module]] = {
        "shufflenet": torchvision.models.shufflenet_v2_x1_0,
        "resnet18": torchvision.models.resnet18,
    }
    network = builders[name]()
    network.fc = nn.Identity()
    return network


def _encoder3d() -> nn.Module:
    """The encoder of LoRKD-Nano: five stages of two convolutions."""
    plan = Plan(3, WIDTHS, 2, triples((1, 2, 2, 2, 2)), triples((3, 3, 3, 3, 3)))
    return nn.Sequential(*UNet3d(plan).encoder)


class Literal(nn.Module):
    """Equations 4 and 5 as they stand: a stack of every expert for every sample, masked, summed."""

    def __init__(self, layer: ExpertConvolution, decomposed: Decomposed, tasks: Tensor) -> None:
        super().__init__()
        self.conv, self.layer = layer.conv, layer.layer
        a, b = zip(*(expert.pairs()[layer.place] for expert in _experts(decomposed)), strict=True)
        self.a = nn.Parameter(torch.stack(a).detach())
        self.b = nn.Parameter(torch.stack(b).detach())
        self.chosen = F.one_hot(tasks, len(a)).float()

    def forward(self, images: Tensor) -> Tensor:
        """As many groups as samples."""
        changes = change(self.a, self.b, self.layer.shape) * 2
        mask = self.chosen.view(*self.chosen.shape, *[1] * len(self.layer.shape))
        weights = self.conv.weight + (changes[None] * mask).sum(1)
        batch, _, *space = images.shape
        bias = None if self.conv.bias is None else self.conv.bias.repeat(batch)
        joined = images.reshape(1, -1, *space)
        found = self.layer.convolve(joined, weights.flatten(0, 1), bias, groups=batch)
        return found.view(batch, -1, *found.shape[2:])


class Flora(nn.Module):
    """The shared weight times a factor of rank r for each task: r times the batch through it."""

    def __init__(self, layer: ExpertConvolution, tasks: Tensor) -> None:
        super().__init__()
        self.conv, self.tasks = layer.conv, tasks
        count = int(tasks.max()) + 1
        shape = [1] * (layer.conv.weight.ndim - 2)
        self.a = nn.Parameter(torch.ones(count, RANK, layer.conv.out_channels, *shape) / RANK)
        self.b = nn.Parameter(torch.ones(count, RANK, layer.conv.in_channels, *shape))

    def forward(self, images: Tensor) -> Tensor:
        """Scale what goes in and what comes out."""
        spread = (images[:, None] * self.b[self.tasks]).flatten(0, 1)
        found: Tensor = self.conv(spread)
        return (found.view(len(images), RANK, *found.shape[1:]) * self.a[self.tasks]).sum(1)


def _replaced(decomposed: Decomposed, made: Callable[[ExpertConvolution], nn.Module]) -> nn.Module:
    """Its network with other layers, on the very same shared weights."""
    layers = [m for m in decomposed.shared.modules() if isinstance(m, ExpertConvolution)]
    return copy.deepcopy(decomposed.shared, {id(layer): made(layer) for layer in layers})


def _experts(decomposed: Decomposed) -> list[Expert]:
    return [expert for expert in decomposed.experts if isinstance(expert, Expert)]


def _literal_bytes(decomposed: Decomposed, cell: Cell) -> int:
    return 4 * cell.batch * cell.tasks * max(prod(layer.shape) for layer in decomposed.layers)


def _step(network: nn.Module, images: Tensor) -> Step:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()

    return step


def _routed(decomposed: Decomposed, images: Tensor, tasks: Tensor) -> Step:
    inside = _step(decomposed, images)

    def step() -> None:
        with decomposed.routing.to(tasks):
            inside()

    return step


# How it is measured


def _times(
    steps: dict[str, Step], clock: Callable[[], float], arguments: argparse.Namespace
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(arguments.rounds + 1):
        for name, step in steps.items():
            if name in ("literal", "flora") and turn > 1:
                continue  # They take tens of times longer, and no digit hangs on them
            start = clock()
            step()
            _wait(arguments.device)
            if turn:
                times[name].append(clock() - start)
    return times


def _median_ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=False))


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _peak(step: Step, device: str) -> int:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        most: int = torch.cuda.max_memory_allocated()
        return most
    peak = Peak()
    with peak:
        step()
    return peak.bytes


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most bytes that were alive at once of the tensors that operations read or gave."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self._alive = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operation, and look at its tensors."""
        found = func(*args, **(kwargs or {}))
        self._see([args, kwargs, found])
        return found

    def _see(self, nested: Any) -> None:
        if isinstance(nested, Tensor):
            self._add(nested.untyped_storage())
        elif isinstance(nested, dict):
            self._see(list(nested.values()))
        elif isinstance(nested, list | tuple):
            for part in nested:
                self._see(part)

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self._alive += size
        self.bytes = max(self.bytes, self._alive)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._alive -= size


# What no exact way can go below


def _floors(
    decomposed: Decomposed, images: Tensor, tasks: Tensor, plain_peak: int
) -> tuple[float, float, float]:
    """Operations, bytes that travel, and bytes that are kept, each over the plain step's."""
    pixels: dict[int, tuple[int, int]] = {}

    def seen(layer: ExpertConvolution, given: tuple[Tensor, ...], _: Tensor) -> None:
        space = tuple(given[0].shape[2:])
        pixels[layer.place] = prod(space), prod(layer.layer.plane(space))

    layers = [m for m in decomposed.shared.modules() if isinstance(m, ExpertConvolution)]
    handles = [layer.register_forward_hook(seen) for layer in layers]
    with torch.no_grad(), decomposed.routing.to(tasks):
        decomposed(images)
    for handle in handles:
        handle.remove()
    present, batch = len(set(tasks.tolist())), len(images)
    work = [(layer.layer, *pixels[layer.place]) for layer in layers]
    plain = sum(batch * after * prod(layer.shape) for layer, _, after in work)
    added = sum(_added(layer, batch * after, present) for layer, _, after in work)
    # Every layer reads and writes in three passes; SGD reads and writes weight and momentum.
    weights = sum(prod(layer.shape) for layer in decomposed.layers)
    travel = 3 * sum(batch * (b * g.inputs + a * g.outputs) for g, b, a in work) + 8 * weights
    numbers = present * sum(prod(s) for layer in decomposed.layers for s in layer.factors(RANK))
    return 1 + added / plain, 1 + 8 * numbers / travel, 1 + 2 * 4 * numbers / plain_peak


def _added(layer: Geometry, rows: int, tasks: int) -> float:
    """Multiplications of the cheaper of two ways: built weights, or through the factors."""
    weight = prod(layer.shape)
    columns = layer.inputs * layer.rest
    through = rows * RANK * layer.first * (layer.first * columns + layer.first * layer.outputs)
    return min(tasks * RANK * layer.first * weight, through)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--grid", action="store_true", help="every network, size and batch")
    parser.add_argument("--network", nargs="+", choices=SIZES)
    parser.add_argument("--size", nargs="+", type=int)
    parser.add_argument("--batch", nargs="+", type=int)
    parser.add_argument("--tasks", nargs="+", type=int, default=[1, 4, 10, 32])
    parser.add_argument("--beside", nargs="*", choices=("literal", "flora"), default=[])
    parser.add_argument("--layout", choices=LAYOUTS, default=LAYOUTS[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=cuda)
    return parser.parse_args()


if __name__ == "__main__":
    main()
