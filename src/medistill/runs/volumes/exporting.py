"""`export` of a segmentation: a file per task, checked against torch on real patches."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from medistill.data.volumes.opening import OpenedVolumes
from medistill.data.volumes.patches import cut
from medistill.export.volume_onnx import check_segmenter, export_segmenter
from medistill.models.deployed_segmenters import load_segmenter
from medistill.models.segmenters.base import Answering
from medistill.results import RunFolder, read_known, write_json
from medistill.runs.console import Console
from medistill.runs.volumes.evaluating import own_volumes

COMPARED = 4  # validation patches on which the file and torch must agree


def export_volumes(folder: RunFolder, name: str, out: Path | None, console: Console) -> Path:
    """Export the deployed segmenter of one task of a finished run."""
    network, config = load_segmenter(folder.deployed(name).path)
    opened = own_volumes(folder, name, console)
    console.say(export_task(folder, config, network, opened, out=out))
    return out or folder.deployed(name).onnx


def export_task(
    run: RunFolder,
    config: Mapping[str, Any],
    network: Answering,
    opened: OpenedVolumes,
    *,
    out: Path | None = None,
) -> str:
    """Write the file, compare it with torch, note the largest difference; a line to print."""
    path = out or run.deployed(opened.name).onnx
    network.cpu().eval()
    export_segmenter(network, config, path)
    parity = check_segmenter(path, network, _patches(opened, config["patch"]))
    known = read_known(run.parity)
    known[opened.name] = {"largest": parity.largest, "pictures": parity.patches}
    write_json(run.parity, known)
    size = path.stat().st_size / 1e6
    return (
        f"{path} ({size:.1f} MB), at most {parity.largest:.1e} from torch on {parity.patches} "
        "validation patches"
    )


def _patches(opened: OpenedVolumes, sides: list[int]) -> list[Float32[np.ndarray, "a b c"]]:
    """The middles of some validation volumes."""
    found = []
    for row in opened.dataset.splits["validation"][:COMPARED].tolist():
        image = opened.dataset.volumes.image(row)
        start = [(length - side) // 2 for length, side in zip(image.shape, sides, strict=True)]
        found.append(np.asarray(cut(image, start, sides), dtype=np.float32))
    return found
