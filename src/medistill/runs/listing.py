"""What there is to choose from, read off the folders that hold it."""

import sys

from rich.console import Console
from rich.table import Table

from medistill import catalog
from medistill.data.layouts.base import Layout
from medistill.methods.base import Method

STUDENTS = {
    "torchvision/shufflenet_v2_x0_5": "0.3 M parameters",
    "torchvision/shufflenet_v2_x1_0": "1.3 M",
    "torchvision/mobilenet_v3_small": "0.9 M",
    "torchvision/mobilenet_v2": "2.2 M",
    "torchvision/efficientnet_b0": "4.0 M",
    "torchvision/resnet18": "11.2 M",
    "timm/<name>": "any of timm's backbones, by its name there",
    "torchvision/<name>": "any of torchvision's classification backbones",
    "run:<folder>": "the network of a run, to be trained further",
}
TEACHERS = {
    "timm/<name>": "one of timm's backbones, with `weights: FILE` (or `pretrained`, when online)",
    "torchvision/<name>": "one of torchvision's, likewise",
    "run:<folder>": "a network that medistill trained, such as by universal_pretraining",
    "features:<file>": "a safetensors file of features, where nobody gives out the weights",
}

PIPED = 300  # columns


def listing(what: str) -> None:
    """Print one shelf: `methods`, `students`, `teachers` or `layouts`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = {"methods": _methods, "layouts": _layouts}.get(what)
    if rows:
        rows(table)
    else:
        table.add_column(what.removesuffix("s"), no_wrap=True)
        table.add_column("what it is")
        for name, line in (STUDENTS if what == "students" else TEACHERS).items():
            table.add_row(name, line)
    # In a pipe nobody folds lines, and 80 columns would cut a table of four into shreds.
    width = None if sys.stdout.isatty() else PIPED
    Console(highlight=False, width=width).print(table)


def _methods(table: Table) -> None:
    table.add_column("method", no_wrap=True)  # a name that is cut cannot be copied
    for column in ("also", "what it does", "paper"):
        table.add_column(column, overflow="fold")
    for name in catalog.available("medistill.methods"):
        method: type[Method] = catalog.find("medistill.methods", name, Method)  # type: ignore[type-abstract]
        table.add_row(name, ", ".join(method.aliases), catalog.first_line(method), method.paper)


def _layouts(table: Table) -> None:
    table.add_column("layout", no_wrap=True)
    table.add_column("what it looks like")
    for name in catalog.available("medistill.data.layouts"):
        layout: type[Layout] = catalog.find("medistill.data.layouts", name, Layout)  # type: ignore[type-abstract]
        table.add_row(name, catalog.first_line(layout))
