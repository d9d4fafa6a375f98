"""Patches of prepared volumes in batches, in an order that seed and epoch alone decide."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from medistill.data.ahead import ahead, cores
from medistill.data.counters import uniforms
from medistill.data.order import Numbers
from medistill.data.volumes.changing import PatchAugmentation
from medistill.data.volumes.dataset import VolumeDataset
from medistill.data.volumes.drawing import Drawing
from medistill.errors import UserError
from medistill.grids import Shape, resample
from medistill.types import Batch, vocabulary

_Batches: TypeAlias = Generator[Batch, None, None]

_PLACE, _ASKED = 41, 42  # first keys of their own: see `order.py`
_MOST_THREADS = 16  # beyond, the batches that wait would fill the memory of a large machine


@dataclass(frozen=True, kw_only=True)
class Patches:
    """What is cut out of a volume, and what is asked of it.

    Args:
        shape: Sides in voxels.
        stride: Of the network: sides must be multiples of it.
        foreground: Share of the patches that surely hold a voxel of some class.
        augment: How far patches may stand from their volumes; False for as they are.
        max_queries: Most classes that are asked of a patch; those in it come first.
        views: How many patches a volume has; None for no end of them.
        seed: Of where they are cut and how they are changed; by default that of their order.
    """

    shape: Shape
    stride: Shape = (1, 1, 1)
    foreground: float = 0.67
    augment: bool | PatchAugmentation = True
    max_queries: int = 16
    views: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        check_patch(self.shape, self.stride)

    @property
    def augmentation(self) -> PatchAugmentation | None:
        """How patches are changed; None where they are not."""
        return PatchAugmentation() if self.augment is True else self.augment or None


class PatchLoader:
    """One split of some data sets, in batches of patches.

    A sample's number counts through all rows of all data sets, whichever split they are in. A patch
    is a pure function of seed, sample and view; without a number of `views`, each is a new one.
    Several processes divide each batch: together they see what one would see.

    Args:
        datasets: Their tasks in the order of the recipe.
        split: Which part: train, validation or test.
        drawing: Which volume comes when; its batches are those of all processes together.
        patches: What is cut out of them.
        rank: Which of the processes this is.
        world: How many processes there are.

    Attributes:
        samples: Numbers of the samples of the split, in its order.
    """

    def __init__(
        self,
        datasets: Sequence[VolumeDataset],
        split: str,
        *,
        drawing: Drawing,
        patches: Patches,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        lengths = [len(dataset) for dataset in datasets]
        self._starts = np.cumsum([0, *lengths[:-1]])
        self._tasks = np.repeat(np.arange(len(datasets)), lengths)
        self._datasets, self._drawing, self._patches = datasets, drawing, patches
        self._rank, self._world = rank, world
        self._seed = drawing.seed if patches.seed is None else patches.seed
        self._augmentation = patches.augmentation
        self._queries = _Queries(datasets, patches.max_queries)
        nothing = np.empty(0, np.int64)
        parts = [dataset.splits.get(split, nothing) for dataset in datasets]
        starts = self._starts.tolist()
        self.samples = np.concatenate([at + own for at, own in zip(starts, parts, strict=True)])
        # What a list joins is drawn as if its data sets were roots of their own.
        apart = [
            (dataset.task.region, at + own)
            for dataset, at, rows in zip(datasets, starts, parts, strict=True)
            for own in dataset.by_source(rows)
        ]
        self._regions, self._samples = zip(*apart, strict=True)
        _check_batches(drawing.batch_size, world, split, len(self.samples))

    @property
    def rows(self) -> int:
        """How many samples all splits of all data sets hold: the rows of a cache."""
        return len(self._tasks)

    def __len__(self) -> int:
        return self._drawing.steps

    def epoch(self, number: int) -> _Batches:
        """The batches of one epoch; each is made while those before it are used.

        Args:
            number: Of the epoch; nothing else needs to be known to go on after a break.
        """
        samples, rounds = self._drawing.epoch(number, self._samples, self._regions)
        views = rounds if self._patches.views is None else rounds % self._patches.views
        share = slice(self._rank, None, self._world)
        return self._made([(s[share], v[share]) for s, v in zip(samples, views, strict=True)])

    def every_patch(self, batch_size: int) -> _Batches:
        """All patches of the split, each once: for a teacher whose answers are kept.

        Args:
            batch_size: Patches in a batch; the last one may be smaller.
        """
        assert self._patches.views is not None, "patches without end have no last one"
        views = np.arange(self._patches.views)
        pairs = np.stack(np.meshgrid(self.samples, views, indexing="ij")).reshape(2, -1)
        starts = range(0, pairs.shape[1], batch_size)
        return self._made([tuple(pairs[:, at : at + batch_size]) for at in starts])

    def _made(self, jobs: Sequence[tuple[Numbers, ...]]) -> _Batches:
        """Batches of these samples and views, each made while those before it are used."""
        threads = min(cores(), _MOST_THREADS)
        return ahead(lambda job: self._batch(*job), jobs, threads=threads, depth=threads + 1)

    def _batch(self, samples: Numbers, views: Numbers) -> Batch:
        patches = [
            self._one(sample, view)
            for sample, view in zip(samples.tolist(), views.tolist(), strict=True)
        ]
        images, masks, queries, valid = (np.stack(part) for part in zip(*patches, strict=True))
        return Batch(
            images=torch.from_numpy(images[:, None]),
            targets=torch.zeros(len(samples), dtype=torch.int64),
            tasks=torch.from_numpy(self._tasks[samples]),
            samples=torch.from_numpy(samples),
            views=torch.from_numpy(views),
            weights=torch.ones(len(samples)),
            queries=torch.from_numpy(queries),
            valid=torch.from_numpy(valid),
            masks=torch.from_numpy(masks),
        )

    def _one(self, sample: int, view: int) -> tuple[NDArray[Any], ...]:
        task = int(self._tasks[sample])
        row = sample - int(self._starts[task])
        volumes, keys = self._datasets[task].volumes, (self._seed, sample, view)
        zoom = self._augmentation.zoom_of(*keys) if self._augmentation else 1.0
        image, label = volumes.image(row), volumes.label(row)
        # A larger or smaller part is cut and brought to the size of the patch: no rim is invented.
        size = [max(1, round(side / zoom)) for side in self._patches.shape]
        start = self._start(image.shape, size, volumes.places(row), keys)
        pixels = self._shown(cut(image, start, size).astype(np.float32), nearest=False)
        if self._augmentation:
            pixels = self._augmentation.change(pixels, *keys)
        asked = self._shown(cut(label, start, size), nearest=True)
        return pixels.astype(np.float32), *self._queries.of(task, row, asked, keys)

    def _start(
        self, shape: Sequence[int], size: Sequence[int], places: NDArray[np.int32], keys: Shape
    ) -> list[int]:
        """The first voxel of a patch; one wider than the volume has it in the middle."""
        hit, which, among, *where = uniforms(6, _PLACE, *keys)[0].tolist()
        start = [round(u * (n - m)) for u, n, m in zip(where, shape, size, strict=True)]
        if hit < self._patches.foreground and len(places):
            # Classes first and voxels second: a small organ comes as often as a large one.
            present = np.unique(places[:, 0])
            own = places[places[:, 0] == present[int(which * len(present))], 1:]
            voxel = own[int(among * len(own))].tolist()
            # Somewhere in the middle of the patch, for a network that always finds it at one place
            # would learn the place.
            start = [
                at - int((0.2 + 0.6 * u) * m) for at, u, m in zip(voxel, where, size, strict=True)
            ]
        return list(map(_within, start, shape, size))

    def _shown(self, array: NDArray[Any], *, nearest: bool) -> NDArray[Any]:
        """At the size of the patch, several channels one by one."""
        if array.ndim == 4:
            return np.stack([self._shown(each, nearest=nearest) for each in array])
        shape = self._patches.shape
        ratios = [old / new for old, new in zip(array.shape, shape, strict=True)]
        return resample(array, shape, ratios, nearest=nearest)


class _Queries:
    """What is asked of a patch: as many rows in every batch, so that shapes stay the same."""

    def __init__(self, datasets: Sequence[VolumeDataset], most: int) -> None:
        classes = [dataset.task.classes for dataset in datasets]
        places = {name: i for i, name in enumerate(vocabulary([d.task for d in datasets]))}
        self._places = [np.array([places[name] for name in own], np.int64) for own in classes]
        self._known = [dataset.known for dataset in datasets]
        self._rows = min(most, max(map(len, classes), default=0))

    def of(
        self, task: int, row: int, label: NDArray[np.uint8], keys: Shape
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
        """Masks, places in the vocabulary, and which of them count."""
        known = list(self._known[task][row])
        if len(known) > self._rows:
            known = self._chosen(known, label, keys)
        masks = np.zeros((self._rows, *label.shape[-3:]), np.uint8)
        queries, valid = np.zeros(self._rows, np.int64), np.zeros(self._rows, np.bool_)
        for i, place in enumerate(known):
            masks[i] = label[place] if label.ndim == 4 else label == place + 1
        queries[: len(known)] = self._places[task][known]
        valid[: len(known)] = True
        return masks, queries, valid

    def _chosen(self, known: list[int], label: NDArray[np.uint8], keys: Shape) -> list[int]:
        """Those that are in the patch first, others by chance."""
        there = label.any(axis=(1, 2, 3)) if label.ndim == 4 else np.bincount(label.ravel())[1:]
        found = set(np.flatnonzero(there).tolist())
        chance = uniforms(len(known), _ASKED, *keys)[0].tolist()
        ranked = sorted(zip(known, chance, strict=True), key=lambda kc: (kc[0] not in found, kc[1]))
        return sorted(place for place, _ in ranked[: self._rows])


def cut(array: NDArray[Any], start: Sequence[int], size: Sequence[int]) -> NDArray[Any]:
    """A part of the last three axes, with zeros where it reaches out of the array."""
    shape = array.shape[-3:]
    inside = [
        slice(max(at, 0), min(at + n, whole))
        for at, n, whole in zip(start, size, shape, strict=True)
    ]
    found: NDArray[Any] = array[..., inside[0], inside[1], inside[2]]
    margins = [
        (part.start - at, at + n - part.stop)
        for part, at, n in zip(inside, start, size, strict=True)
    ]
    if not np.any(margins):
        return found
    return np.pad(found, [(0, 0)] * (array.ndim - 3) + margins)


def _within(at: int, whole: int, side: int) -> int:
    """Where a patch begins along an axis of the volume: inside, or around one that is shorter."""
    return min(max(at, 0), whole - side) if whole > side else -((side - whole) // 2)


def check_patch(patch: Shape, stride: Shape) -> None:
    """Refuse sides that a network of this stride cannot halve again and again.

    Raises:
        UserError: A side is no multiple; the nearest ones are named.
    """
    for side, step in zip(patch, stride, strict=True):
        if side < 1 or side % step:
            below = side // step * step
            nearest = f"{below} or {below + step}" if below else f"{step}"
            raise UserError(
                f"data.patch {list(patch)}: {side} is no multiple of {step}, by which this network "
                f"shrinks that axis; choose {nearest}."
            )


def _check_batches(batch_size: int, world: int, split: str, samples: int) -> None:
    if batch_size % world:
        raise UserError(
            f"training.batch_size is {batch_size}, which {world} processes cannot share evenly."
        )
    if not samples:
        raise UserError(f"The {split} split has no volume that can be used.")
