"""Several data sets as one table: what is known of each sample, by its number."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medistill.data.dataset import Dataset
from medistill.data.order import Numbers


class Table:
    """All rows of some data sets, under one numbering that runs through them.

    Args:
        datasets: Their tasks in the order of the recipe; their stores have images of one size.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self._datasets = datasets
        self._stores = [dataset.store.images for dataset in datasets]
        self.size, *others = sorted({images.shape[1] for images in self._stores})
        if others:
            raise ValueError(f"stores of one size are needed, not of {self.size} and {others}")
        lengths = [len(images) for images in self._stores]
        self._starts = np.cumsum([0, *lengths[:-1]])
        self.tasks = np.repeat(np.arange(len(datasets)), lengths)
        self.targets = np.concatenate([dataset.targets for dataset in datasets])
        entries = [entry for dataset in datasets for entry in dataset.store.entries]
        self.colour = np.array([entry.channels > 1 for entry in entries])

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def groups(self) -> Numbers:
        """One number for each class of each task."""
        groups: Numbers = self.tasks * (self.targets.max() + 2) + self.targets + 1
        return groups

    def split(self, name: str) -> list[Numbers]:
        """Samples of one part of each data set."""
        nothing = np.empty(0, np.int64)
        parts = (dataset.splits.get(name, nothing) for dataset in self._datasets)
        return [start + part for start, part in zip(self._starts, parts, strict=True)]

    def weights(self, name: str) -> NDArray[np.float32]:
        """A weight for each sample, so that in this split the classes of a task count alike."""
        weights = np.ones(len(self), np.float32)
        for samples in self.split(name):
            weights[samples] = inverse_frequencies(self.targets[samples])
        return weights

    def pixels(self, samples: Numbers, channels: int) -> NDArray[np.uint8]:
        """(samples, channels, size, size); of a grey image the first channel says all."""
        found = np.empty((len(samples), channels, self.size, self.size), np.uint8)
        tasks = self.tasks[samples]
        for task in np.unique(tasks):
            here = tasks == task
            images = self._stores[task][samples[here] - self._starts[task]]
            found[here] = images[..., :channels].transpose(0, 3, 1, 2)
        return found


def inverse_frequencies(targets: Numbers) -> NDArray[np.float32]:
    """Weights that make classes count alike: 1 on average, and 1 for a sample without a label."""
    weights = np.ones(len(targets), np.float32)
    labelled = targets >= 0
    _, places, counts = np.unique(targets[labelled], return_inverse=True, return_counts=True)
    weights[labelled] = labelled.sum() / (len(counts) * counts[places])
    return weights
