"""A data set that is ready to be batched: images, targets and splits."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medistill.data.splits import LEFT_OUT
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

    def undivided(self) -> "Dataset":
        """The same with all of its training images, whatever fraction of them a run sees."""
        rest = self.splits.get(LEFT_OUT)
        if rest is None:
            return self
        train = np.sort(np.concatenate([self.splits["train"], rest]))
        return replace(self, splits={**self.splits, "train": train})
