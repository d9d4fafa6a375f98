"""Batches of one or more data sets, in an order that seed and epoch alone decide."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from medistill.data.ahead import ahead, cores
from medistill.data.augmentation import Augmentation
from medistill.data.counters import uniforms
from medistill.data.dataset import Dataset
from medistill.data.order import SHUFFLED, Numbers, Order, occurrences
from medistill.data.table import Table
from medistill.data.views import augment
from medistill.errors import UserError
from medistill.types import Batch

_Batches: TypeAlias = Generator[Batch, None, None]

_BEGINNING = 3  # a first key of its own: see `order.py`
_MOST_THREADS = 16  # beyond, the batches that wait would fill the memory of a large machine
_PART = 8  # images augmented at once: their pixels stay in a core's cache, twice as fast as 64


@dataclass(frozen=True, kw_only=True)
class Views:
    """How many views a sample has, and which.

    Args:
        count: Numbered from 0, the image as it is; 1 means no augmentation.
        seed: Another one gives other views.
        augmentation: How far they may stand from their image.
    """

    count: int = 1
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)


AS_IT_IS = Views()
"""For judging: every image without augmentation."""


class Loader:
    """One split of some data sets, in batches.

    A sample's number counts through all rows of all data sets, whichever split they are in. In an
    epoch it shows one view, in the next epoch the next one; where it begins is its own, so that
    every epoch holds all views. Several processes divide each batch: together they see what one
    would see.

    Args:
        datasets: Their tasks in the order of the recipe; their stores have images of one size.
        split: Which part: train, validation or test.
        batch_size: Images in a batch of all processes together; fewer when the split has fewer.
        order: How an epoch goes through the split.
        views: What samples show.
        rank: Which of the processes this is.
        world: How many processes there are.
        class_weights: Whether rare classes weigh more: inverse to their frequency, 1 on average.

    Attributes:
        samples: Numbers of the samples of the split, in its order.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        split: str,
        *,
        batch_size: int,
        order: Order = SHUFFLED,
        views: Views = AS_IT_IS,
        rank: int = 0,
        world: int = 1,
        class_weights: bool = False,
    ) -> None:
        self._table = Table(datasets)
        self.samples = np.concatenate(self._table.split(split))
        ones = np.ones(self.rows, np.float32)
        self._weights = self._table.weights(split) if class_weights else ones
        self._batch_size = _fitting(batch_size, len(self.samples), world, split)
        self._order, self._views = order, views
        self._rank, self._world = rank, world

    @property
    def rows(self) -> int:
        """How many samples all splits of all data sets hold: the rows of a cache."""
        return len(self._table)

    def __len__(self) -> int:
        full, rest = divmod(len(self.samples), self._batch_size)
        return full + (rest > 0 and not self._order.drop_last)

    def epoch(self, number: int) -> _Batches:
        """The batches of one epoch; each is made while those before it are used.

        Args:
            number: Of the epoch; nothing else needs to be known to go on after a break.
        """
        groups, tasks = self._table.groups[self.samples], self._table.tasks[self.samples]
        samples = self._order.epoch(number, self.samples, groups, tasks)
        views = (number + self._beginnings(samples) + occurrences(samples)) % self._views.count
        return self._batches(samples, views, len(self), slice(self._rank, None, self._world))

    def every_view(self) -> _Batches:
        """Every view of every sample once, in order and undivided: what a cache is filled from."""
        count = self._views.count
        samples = np.tile(self.samples, count)
        views = np.repeat(np.arange(count), len(self.samples))
        return self._batches(samples, views, -(-len(samples) // self._batch_size), slice(None))

    def _beginnings(self, samples: Numbers) -> Numbers:
        drawn = uniforms(1, _BEGINNING, self._views.seed, samples)[:, 0]
        return (drawn * self._views.count).astype(np.int64)

    def _batches(self, samples: Numbers, views: Numbers, steps: int, share: slice) -> _Batches:
        size = self._batch_size
        whole = [slice(step * size, (step + 1) * size) for step in range(steps)]
        jobs = [(samples[batch][share], views[batch][share]) for batch in whole]
        threads = min(cores(), _MOST_THREADS)
        return ahead(lambda job: self._batch(*job), jobs, threads=threads, depth=threads + 1)

    def _batch(self, samples: Numbers, views: Numbers) -> Batch:
        return Batch(
            images=self._images(samples, views),
            targets=torch.from_numpy(self._table.targets[samples]),
            tasks=torch.from_numpy(self._table.tasks[samples]),
            samples=torch.from_numpy(samples),
            views=torch.from_numpy(views),
            weights=torch.from_numpy(self._weights[samples]),
        )

    def _images(self, samples: Numbers, views: Numbers) -> Float[Tensor, "batch 3 size size"]:
        colour = self._table.colour[samples]
        if not colour.any():
            # Held once and shown three times.
            return self._seen(samples, views, channels=1).expand(-1, 3, -1, -1)
        images = torch.empty(len(samples), 3, *2 * [self._table.size])
        for channels, here in ((1, ~colour), (3, colour)):
            images[here] = self._seen(samples[here], views[here], channels=channels)
        return images

    def _seen(
        self, samples: Numbers, views: Numbers, *, channels: int
    ) -> Float[Tensor, "batch channels size size"]:
        pixels = torch.from_numpy(self._table.pixels(samples, channels))
        numbers, wanted = torch.from_numpy(samples), torch.from_numpy(views)
        seed, settings = self._views.seed, self._views.augmentation
        parts = [slice(start, start + _PART) for start in range(0, len(samples), _PART)]
        seen = [
            augment(
                pixels[part].float().div_(255),
                numbers[part],
                wanted[part],
                seed=seed,
                settings=settings,
            )
            for part in parts
        ]
        return torch.cat(seen) if seen else pixels.float()


def _fitting(batch_size: int, samples: int, world: int, split: str) -> int:
    if batch_size % world:
        raise UserError(
            f"training.batch_size is {batch_size}, which {world} processes cannot share evenly."
        )
    fitting = min(batch_size, samples - samples % world)
    if not fitting:
        raise UserError(f"The {split} split has {samples} images: too few for {world} processes.")
    return fitting
