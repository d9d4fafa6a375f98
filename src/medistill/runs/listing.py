"""What there is to choose from, read off the folders that hold it."""

import sys
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.table import Table

from medistill import catalog
from medistill.data.layouts.base import Layout
from medistill.data.volumes.layouts.base import VolumeLayout
from medistill.methods.base import Method
from medistill.models.checkpoints.base import CHECKPOINTS, Checkpoint
from medistill.models.released_segmenters.base import RELEASED, ReleasedSegmenter

STUDENTS = {
    "torchvision/shufflenet_v2_x0_5": "0.3 M parameters",
    "torchvision/shufflenet_v2_x1_0": "1.3 M",
    "torchvision/mobilenet_v3_small": "0.9 M",
    "torchvision/mobilenet_v2": "2.2 M",
    "torchvision/efficientnet_b0": "4.0 M",
    "torchvision/resnet18": "11.2 M",
    "timm/<name>": "any of timm's backbones, by its name there",
    "torchvision/<name>": "any of torchvision's classification backbones",
    "<released model>": "one that `medistill list teachers` shows, for methods that tune it",
    "run:<folder>": "the network of a run, to be trained further",
    "sat/unet": "of volumes: a U-Net that is asked for classes; of any size by its options",
    "sat/<name>": "of volumes: nano, pro, lorkd_nano or lorkd_pro, as they were published",
    "monai/<name>": "of volumes: UNet, DynUNet, SegResNet or SwinUNETR",
}
TEACHERS = {
    "timm/<name>": "one of timm's backbones, with `weights: FILE` (or `pretrained`, when online)",
    "torchvision/<name>": "one of torchvision's, likewise",
    "run:<folder>": "a network that medistill trained, such as by universal_pretraining",
    "features:<file>": "a safetensors file of features, where nobody gives out the weights",
    "sat/<name>": "of volumes, with `weights: FILE`: SAT's or LoRKD's own, or yours",
    "<released model>": "one of those below, with `weights: FILE`, the file that its authors give",
}

PIPED = 400  # columns


def listing(what: str) -> None:
    """Print one shelf: `methods`, `students`, `teachers` or `layouts`."""
    # In a pipe nobody folds lines, and 80 columns would cut a table of four into shreds.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED)
    for number, table in enumerate(_SHELVES[what]()):
        console.print(*([""] if number else []), table, sep="\n")


def released() -> list[tuple[str, ...]]:
    """Name, other names, first thought, licence, file and paper of each released model."""
    return [*_released(CHECKPOINTS, Checkpoint), *_released(RELEASED, ReleasedSegmenter)]


def _released(
    package: str, base: type[Checkpoint] | type[ReleasedSegmenter]
) -> Iterator[tuple[str, ...]]:
    for name in catalog.available(package):
        model = catalog.find(package, name, base)
        also, terms = ", ".join(model.aliases), model.licence or "none stated"
        yield name, also, catalog.first_line(model), terms, model.found, model.paper


def _teachers() -> list[Table]:
    models = _table("released model", "also", "what it is", "licence", "its file", "paper")
    for row in released():
        models.add_row(*row)
    return [_described("teacher", TEACHERS), models]


def _students() -> list[Table]:
    return [_described("student", STUDENTS)]


def _methods() -> list[Table]:
    table = _table("method", "also", "volumes", "what it does", "paper")
    for name in catalog.available("medistill.methods"):
        method: type[Method] = catalog.find("medistill.methods", name, Method)  # type: ignore[type-abstract]
        also, volumes = ", ".join(method.aliases), "yes" if method.volumes else ""
        table.add_row(name, also, volumes, catalog.first_line(method), method.paper)
    return [table]


def _layouts() -> list[Table]:
    images = ("layout of images", "medistill.data.layouts", Layout)
    volumes = ("layout of volumes", "medistill.data.volumes.layouts", VolumeLayout)
    return [_arranged(*images), _arranged(*volumes)]


def _arranged(title: str, package: str, base: type) -> Table:
    table = _table(title, "what it looks like")
    for name in catalog.available(package):
        table.add_row(name, catalog.first_line(catalog.find(package, name, base)))
    return table


def _described(what: str, lines: Mapping[str, str]) -> Table:
    table = _table(what, "what it is")
    for name, line in lines.items():
        table.add_row(name, line)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)  # a name that is cut cannot be copied
    for column in others:
        table.add_column(column, overflow="fold")
    return table


_SHELVES: dict[str, Callable[[], list[Table]]] = {
    "methods": _methods,
    "students": _students,
    "teachers": _teachers,
    "layouts": _layouts,
}
