"""`export`: a deployed network as one ONNX file, checked against torch on real images."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from medistill.data.opening import Opened
from medistill.export.onnx import export_onnx
from medistill.export.parity import check_parity
from medistill.models.deployed import load_deployed
from medistill.results import RunFolder, read_known, write_json
from medistill.runs.console import Console
from medistill.runs.load import only_task, outlines, own_images
from medistill.runs.shipping import pictures

COMPARED = 16  # validation images on which the file and torch must agree


def export(
    run: Path | str,
    *,
    out: Path | None = None,
    task: str | None = None,
    console: Console | None = None,
) -> Path:
    """Export one deployed network of a finished run.

    Args:
        run: Folder of the run.
        out: The file; by default the one that the run keeps beside its network.
        task: Which task, if the run has several.
        console: Where to say what happens.

    Returns:
        The ONNX file.
    """
    folder, console = RunFolder(Path(run)), console or Console()
    name = only_task(folder, task)
    if outlines(folder, name):
        from medistill.runs.volumes.exporting import export_volumes

        return export_volumes(folder, name, out, console)
    network, config = load_deployed(folder.deployed(name).path)
    opened = own_images(folder, name, console)
    console.say(export_task(folder, config, network, opened, out=out))
    return out or folder.deployed(name).onnx


def export_task(
    run: RunFolder,
    config: Mapping[str, Any],
    network: nn.Module,
    opened: Opened,
    *,
    out: Path | None = None,
) -> str:
    """Write the file, compare it with torch, note the largest difference; a line to print."""
    task = str(config["task"])
    path = out or run.deployed(task).onnx
    network.cpu().eval()
    export_onnx(network, config, path)
    parity = check_parity(path, network, config, pictures(opened, "validation", COMPARED))
    known = read_known(run.parity)
    known[task] = asdict(parity)
    write_json(run.parity, known)
    size = path.stat().st_size / 1e6
    return (
        f"{path} ({size:.1f} MB), at most {parity.largest:.1e} from torch "
        f"on {parity.pictures} validation images"
    )
