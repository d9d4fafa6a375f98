"""Rows of a teacher's outputs on disk: float16 beside one scale per row, one .npy per output.

The scales are powers of two that bring each row's largest value near 2**15, so that no row
overflows, whatever the teacher's range, and none sinks among the subnormals.
"""

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medistill.errors import UserError
from medistill.types import Output

Shapes = dict[str, tuple[int, ...]]
"""Shape of one row of each output: `features`, and maps and `logits` where there are some.

The last map is called `maps`; of several, `maps-1` is the one before it, and so on.
"""


def named(output: Output) -> dict[str, Tensor]:
    """What of an output is kept: the features, and the maps and logits where it has them."""
    before = range(len(output.maps) - 1, -1, -1)  # how many scales before the last each map stands
    names = [f"maps-{scales}" if scales else "maps" for scales in before]
    maps = dict(zip(names, output.maps, strict=True))
    logits = {} if output.logits is None else {"logits": output.logits}
    return {"features": output.features, **maps, **logits}


def map_names(shapes: Shapes) -> list[str]:
    """The names of the maps, fine to coarse."""
    return [name for name in shapes if name.startswith("maps")]


def shapes_of(output: Output) -> Shapes:
    """Shape of one row of each kept output."""
    return {name: tuple(values.shape[1:]) for name, values in named(output).items()}


def columns(shapes: Shapes) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and row shape of each file: the outputs, their scales, and which rows are done."""
    halves = {name: ("float16", tuple(shape)) for name, shape in shapes.items()}
    scales: dict[str, tuple[str, tuple[int, ...]]] = {
        f"{name}.scale": ("float32", ()) for name in shapes
    }
    return {**halves, **scales, "done": ("uint8", ())}


def row_bytes(shapes: Shapes) -> int:
    """What one row takes on disk, over all files."""
    return sum(
        np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in columns(shapes).values()
    )


def at_grid(shapes: Shapes, grid: int) -> Shapes:
    """The shapes that a coarser grid of the last map would have; 1 leaves pooled vectors alone."""
    if grid == 1:
        return {name: shape for name, shape in shapes.items() if name not in map_names(shapes)}
    channels, *space = shapes["maps"]
    return {**shapes, "maps": (channels, *(grid for _ in space))}


def halved(values: Tensor, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Float16 rows and their scales, such that row times scale is the value.

    Args:
        values: One row per (sample, view); finite.
        name: How an error calls them.
    """
    # One scale for each row, not for all: pooled features and maps of one teacher may differ by
    # orders of magnitude from image to image.
    largest = values.abs().flatten(1).amax(1)
    if not largest.isfinite().all():
        raise UserError(
            f"The teacher's {name} hold NaN or infinity. Check its weights and its mean and std."
        )
    # 2**15 is half of what float16 holds: room for rounding up. The least exponent keeps the scale
    # of a row of zeros from becoming 0, by which it would be divided.
    scales = torch.ldexp(torch.ones_like(largest), largest.frexp().exponent.clamp(min=-100) - 15)
    halves = (values / _spread(scales, values)).half()
    return halves.cpu().numpy(), scales.cpu().numpy()


def restored(
    rows: np.ndarray, scales: np.ndarray, positions: np.ndarray, device: torch.device | str
) -> Tensor:
    """Float32 values of some rows, in the order of `positions`."""
    halves = np.empty((len(positions), *rows.shape[1:]), np.float16)
    for slot in positions.argsort():  # in the order of the disk
        halves[slot] = rows[positions[slot]]
    values = torch.from_numpy(halves).to(device).float()
    return values.mul_(_spread(torch.from_numpy(scales[positions]).to(device), values))


def _spread(scales: Tensor, values: Tensor) -> Tensor:
    return scales.view(-1, *(1 for _ in values.shape[1:]))


def positions_of(samples: Tensor, views: Tensor, limits: tuple[int, int]) -> np.ndarray:
    """Row of each (sample, view): all views of sample 0, then those of sample 1, and so on.

    Args:
        samples: Positions in the whole data.
        views: Numbers of the views.
        limits: How many samples and views there are.
    """
    # In one copy from the device, which waits for all that was asked of it before.
    pairs = torch.stack((samples, views)).cpu().numpy()
    wrong = ((pairs < 0) | (pairs >= np.array(limits)[:, None])).any(0)
    if wrong.any():
        sample, view = pairs[:, wrong][:, 0]
        raise UserError(
            f"The teacher cache holds {limits[0]} samples in {limits[1]} views, but was asked for "
            f"view {view} of sample {sample}. Set data.views as it was built."
        )
    positions: np.ndarray = pairs[0] * limits[1] + pairs[1]
    return positions


class Column:
    """One .npy file, written row by row: a full disk is an error, where a memory map would kill."""

    def __init__(self, path: Path) -> None:
        # numpy reads the header; nothing is mapped for longer than it takes to know the offsets.
        mapped = np.load(path, mmap_mode="r")
        self.start, self.stride, self.dtype = mapped.offset, mapped.strides[0], mapped.dtype
        self.file = path.open("r+b", buffering=0)

    def write(self, positions: np.ndarray, rows: np.ndarray) -> None:
        """Puts each row in its place."""
        for position, row in zip(positions.tolist(), rows, strict=True):
            self.file.seek(self.start + position * self.stride)
            left = memoryview(row.astype(self.dtype, copy=False).tobytes())
            # An unbuffered file may take fewer bytes than it is given.
            while left:
                left = left[self.file.write(left) :]

    def flush(self) -> None:
        """Returns when all that was written has reached the disk."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Closes the file; what was written stays."""
        self.file.close()
