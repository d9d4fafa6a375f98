"""A frozen teacher's outputs on disk: computed once for each (sample, view), read ever after.

A cache is a folder: `cache.json` (its key and shapes), `done.npy` (which rows it holds) and, for
each output, float16 rows beside one scale per row. While it is being built, the folder's name ends
in `.partial`; a builder that was killed goes on where it stopped.
"""

import errno
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from medistill.errors import Failure, UserError
from medistill.models.cache_rows import (
    Column,
    Shapes,
    at_grid,
    columns,
    halved,
    map_names,
    named,
    positions_of,
    restored,
    row_bytes,
    shapes_of,
)
from medistill.types import Batch, Output

FORMAT = 1
STATEMENT = "cache.json"
COMMIT_SECONDS = 2.0  # what a kill may cost at most, beside the batch in hand
RESERVE = 0.98  # of the free disk: the run beside the cache writes too


@dataclass(frozen=True)
class CachePlan:
    """What a cache will cost, said before it is built.

    Args:
        shapes: Of one row.
        rows: How many rows will be computed.
        free_bytes: What the disk has.
        seconds: What computing them will take, as one batch suggests.
        folder: Where they go.
        per: The setting by which their number grows.
    """

    shapes: Shapes
    rows: int
    free_bytes: int
    seconds: float
    folder: Path
    per: str = "data.views"

    @property
    def bytes(self) -> int:
        """What the rows take on disk."""
        return self.rows * row_bytes(self.shapes)

    def __str__(self) -> str:
        return (
            f"teacher cache: {self.rows} rows, {_size(self.bytes)} of {_size(self.free_bytes)} "
            f"free in {self.folder.parent}, about {_duration(self.seconds)}"
        )

    def refuse_over_free_disk(self) -> None:
        """Raises a `UserError` that proposes the finest grid that fits."""
        if self.bytes <= self.free_bytes * RESERVE:
            return
        raise UserError(
            f"teacher cache: {_size(self.bytes)} needed, but {self.folder.parent} has "
            f"{_size(self.free_bytes)} free. {self._way_out()}"
        )

    def _way_out(self) -> str:
        others = f"lower {self.per}, set teacher.cache to false, or make room."
        if not map_names(self.shapes):
            return f"L{others[1:]}"
        # Who wants several maps cannot do with vectors alone.
        least = 2 if len(map_names(self.shapes)) > 1 else 1
        for grid in range(min(self.shapes.get("maps", (0, 1))[1:]) - 1, least - 1, -1):
            needed = self.rows * row_bytes(at_grid(self.shapes, grid))
            if needed <= self.free_bytes * RESERVE:
                return f"Set teacher.grid to {grid} ({_size(needed)}), or make room."
        smallest = self.rows * row_bytes(at_grid(self.shapes, least))
        return f"Even teacher.grid {least} needs {_size(smallest)}: {others}"


def plan_cache(
    teacher: Callable[[Batch], Output],
    example: Batch,
    *,
    rows: int,
    folder: Path,
    per: str = "data.views",
) -> CachePlan:
    """Measures, on one batch, what a cache of so many rows will take in bytes and seconds.

    Args:
        teacher: What will fill the cache.
        example: A batch of the size with which it will be filled.
        rows: (sample, view) pairs to compute.
        folder: Where the cache goes; its nearest existing parent is asked for free space.
        per: The setting by which their number grows, for who has no room.
    """
    teacher(example)  # warm: the first call pays for allocations and the choice of kernels
    start = time.perf_counter()
    shapes = shapes_of(teacher(example))
    if example.images.is_cuda:
        torch.cuda.synchronize(example.images.device)
    seconds = (time.perf_counter() - start) / len(example) * rows
    return CachePlan(shapes, rows, _free(folder), seconds, folder, per)


@dataclass(frozen=True)
class FeatureCache:
    """A finished cache, memory-mapped.

    Args:
        folder: Where it lies.
        samples: Of the whole data.
        views: Of each sample.
        shapes: Of one row of each output.
    """

    folder: Path
    samples: int
    views: int
    shapes: Shapes

    @classmethod
    def open(cls, folder: Path, key: str) -> "FeatureCache":
        """Opens a cache that was built under this very key, and refuses any other."""
        stated = _read_statement(folder)
        if stated is None:
            raise UserError(f"{folder} is no finished teacher cache. Build it, or delete it.")
        if stated["key"] != key or stated["format"] != FORMAT:
            raise UserError(
                f"The teacher cache {folder} was made for other weights, data or views "
                f"(key {str(stated['key'])[:12]}, wanted {key[:12]}). Delete it to build it anew."
            )
        return cls(folder, stated["samples"], stated["views"], _stated_shapes(stated))

    def gather(
        self,
        samples: Int[Tensor, " batch"],
        views: Int[Tensor, " batch"],
        device: torch.device | str = "cpu",
    ) -> Output:
        """The outputs of these rows in float32, in their order."""
        positions = positions_of(samples, views, (self.samples, self.views))
        self._refuse_absent(positions)
        found = {
            name: restored(rows, scales, positions, device)
            for name, (rows, scales) in self._columns.items()
        }
        maps = tuple(found[name] for name in map_names(self.shapes))
        return Output(found.get("logits"), found["features"], maps)

    def _refuse_absent(self, positions: np.ndarray) -> None:
        held = self._done[positions]
        if held.all():
            return
        sample, view = divmod(int(positions[~held][0]), self.views)
        raise UserError(
            f"The teacher cache {self.folder} has no row for view {view} of sample {sample}. "
            "Delete it to build it anew."
        )

    @cached_property
    def _done(self) -> np.ndarray:
        done: np.ndarray = np.load(self.folder / "done.npy").astype(bool)
        return done

    @cached_property
    def _columns(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {
            # A plain view of the memory map: np.memmap pays microseconds for every row it hands out
            name: (
                np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="r")),
                np.load(self.folder / f"{name}.scale.npy"),
            )
            for name in self.shapes
        }


def build_cache(
    teacher: Callable[[Batch], Output],
    batches: Iterable[Batch],
    *,
    samples: int,
    views: int,
    folder: Path,
    key: str,
    rows: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> FeatureCache:
    """Runs a teacher once over batches that name each (sample, view), and keeps what it gives.

    A finished cache is opened as it is. Of one that was killed, what was written is kept. Where
    another process builds the same cache, this one waits for it.

    Args:
        teacher: Deterministic; its outputs must be finite.
        batches: Each (sample, view) that will be asked for, in any order; one that comes again
            is not computed again.
        samples: Of the whole data, whether the batches name them or not.
        views: Of each sample, likewise.
        folder: Where the finished cache lies.
        key: Hash of all that decides the outputs: weights, normalisation, grid, data, views.
        rows: How many pairs the batches name, for progress and disk; all of them by default.
        on_progress: Told after every batch how many rows are done, and of how many.
    """
    if not (folder / STATEMENT).is_file():
        statement = {"format": FORMAT, "key": key, "samples": samples, "views": views}
        with _alone(folder), _disk_full_explained(folder):
            builder = _Builder(folder, statement, samples * views if rows is None else rows)
            with closing(builder):
                builder.build(teacher, batches, on_progress)
    return FeatureCache.open(folder, key)


class _Builder:
    """A cache in the making, in a folder that a later process can take up."""

    def __init__(self, target: Path, statement: dict[str, Any], total: int) -> None:
        self.target = target
        self.folder = target.with_name(f"{target.name}.partial")
        self.statement = statement
        self.total = total
        self.columns: dict[str, Column] = {}
        self.done = np.zeros(statement["samples"] * statement["views"], bool)
        self.pending: list[np.ndarray] = []
        self.committed = time.monotonic()

    def build(
        self,
        teacher: Callable[[Batch], Output],
        batches: Iterable[Batch],
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        if (self.target / STATEMENT).is_file():  # another process finished it while this one waited
            return
        self._take_up()
        for batch in batches:
            self._add(teacher, batch)
            if on_progress is not None:
                on_progress(int(self.done.sum()), self.total)
        if not self.columns:
            raise UserError(f"The teacher cache {self.target} would be empty: there are no images.")
        self._commit()
        self.close()
        self.folder.rename(self.target)

    def _take_up(self) -> None:
        """Go on with what an earlier process left, if it was of the same cache."""
        stated = _read_statement(self.folder)
        if stated is not None and self.statement.items() <= stated.items():
            self._open(_stated_shapes(stated))

    def close(self) -> None:
        for column in self.columns.values():
            column.close()

    def _add(self, teacher: Callable[[Batch], Output], batch: Batch) -> None:
        limits = (self.statement["samples"], self.statement["views"])
        positions = positions_of(batch.samples, batch.views, limits)
        first = np.unique(positions, return_index=True)[1]
        new = first[~self.done[positions[first]]]
        if not len(new):
            return
        output = teacher(_chosen(batch, torch.from_numpy(new)))
        if not self.columns:
            self._start(shapes_of(output))
        for name, values in named(output).items():
            halves, scales = halved(values, name)
            self.columns[name].write(positions[new], halves)
            self.columns[f"{name}.scale"].write(positions[new], scales)
        self.done[positions[new]] = True
        self.pending.append(positions[new])
        if time.monotonic() - self.committed > COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        # The order is the promise: a row is claimed only when what it holds has reached the disk
        for name, column in self.columns.items():
            if name != "done":
                column.flush()
        for positions in self.pending:
            self.columns["done"].write(positions, np.ones(len(positions), np.uint8))
        self.columns["done"].flush()
        self.pending.clear()
        self.committed = time.monotonic()

    def _start(self, shapes: Shapes) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        plan = CachePlan(shapes, self.total, _free(self.target), 0.0, self.target)
        plan.refuse_over_free_disk()
        self.folder.mkdir(parents=True)
        for name, (dtype, shape) in columns(shapes).items():
            # Leaves a hole of the full size: disk is taken only by the rows that are written
            np.lib.format.open_memmap(
                self.folder / f"{name}.npy", "w+", dtype, shape=(len(self.done), *shape)
            )
        text = json.dumps({**self.statement, "shapes": shapes})
        (self.folder / STATEMENT).write_text(text, encoding="utf-8")
        self._open(shapes)

    def _open(self, shapes: Shapes) -> None:
        self.columns = {name: Column(self.folder / f"{name}.npy") for name in columns(shapes)}
        self.done = np.load(self.folder / "done.npy").astype(bool)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time build a folder; the lock falls when its holder dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.lock")
    # SQLite holds the file locks of each system in one portable form. The empty file stays:
    # taking it away under those who wait would be an I/O error to them.
    with closing(sqlite3.connect(lock, timeout=0.5, isolation_level=None)) as connection:
        while not _locked(connection, folder.parent):
            pass
        yield


def _locked(connection: sqlite3.Connection, folder: Path) -> bool:
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise UserError(f"No teacher cache can be built in {folder}: {error}.") from error
        return False
    return True


@contextmanager
def _disk_full_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise Failure(
            f"The disk of {folder.parent} is full. The teacher cache keeps what it has, and goes "
            "on from there: make room and run the same command again."
        ) from error


def _chosen(batch: Batch, rows: Tensor) -> Batch:
    return batch.at(rows.to(batch.images.device))


def _read_statement(folder: Path) -> dict[str, Any] | None:
    try:
        stated: dict[str, Any] = json.loads((folder / STATEMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stated


def _stated_shapes(stated: dict[str, Any]) -> Shapes:
    return {name: tuple(shape) for name, shape in stated["shapes"].items()}


def _free(folder: Path) -> int:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    begun = folder.with_name(f"{folder.name}.partial").glob("*")
    # What an earlier process wrote is taken up, or deleted: either way its room is ours
    held = sum(512 * getattr(file.stat(), "st_blocks", 0) for file in begun)
    return shutil.disk_usage(existing).free + held


def _size(count: int) -> str:
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
