"""A data set of volumes that is ready to be cut into patches."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from medistill.scans import Preparation, Trace
from medistill.types import Task


@runtime_checkable
class Volumes(Protocol):
    """Prepared volumes, by their rows; arrays may lie on disk until they are looked at."""

    def __len__(self) -> int:
        """How many rows there are, those without a volume among them."""

    def image(self, row: int) -> NDArray[Any]:
        """(x, y, z) in 16 or 32 bits, of mean 0 and deviation 1."""

    def label(self, row: int) -> NDArray[np.uint8]:
        """(x, y, z), 0 for background and 1 + the place of a class; or (classes, x, y, z) of 0, 1.

        Zeros where the row has no label.
        """

    def places(self, row: int) -> NDArray[np.int32]:
        """Some voxels of each class that is there, (voxels, 4): place of the class, x, y, z."""


@dataclass(frozen=True)
class VolumeDataset:
    """One task's volumes with what is known of them, row by row.

    Args:
        task: The question that the masks answer; its classes are the foreground.
        volumes: Every prepared volume.
        splits: Rows of each part, by its name; a volume that cannot be used stands in none.
        patients: Whom each row shows; None when not known.
        preparation: What was done to every scan; a row's modality may be another.
        traces: How each row was prepared; None for a row that stands in no split.
        known: Places of the classes that were looked for in each row; the others say nothing.
        sources: Which data set each row comes from, where a list joins several; empty for one.
    """

    task: Task
    volumes: Volumes
    splits: dict[str, NDArray[np.int64]]
    patients: tuple[str | None, ...]
    preparation: Preparation
    traces: tuple[Trace | None, ...]
    known: tuple[tuple[int, ...], ...]
    sources: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.patients)

    def by_source(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Some rows, apart by the data set that they come from."""
        if not self.sources or not len(rows):
            return [rows]
        own = np.array(self.sources)[rows]
        # In the order in which they first come, which a set would not keep.
        return [rows[own == name] for name in dict.fromkeys(own.tolist())]
