"""A data set that is ready to be batched: images, targets and splits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medistill.data.store import Store
from medistill.types import Task


@dataclass(frozen=True)
class Dataset:
    """One task's images with what is known of them, row by row of its store.

    Args:
        task: The question that its labels answer.
        store: Every image, readable or not.
        targets: Class of each row; -1 where it has no label.
        splits: Rows of each part, by its name; no unreadable image stands in any.
        patients: Whom each row shows; None when not known.
    """

    task: Task
    store: Store
    targets: NDArray[np.int64]
    splits: dict[str, NDArray[np.int64]]
    patients: tuple[str | None, ...]
