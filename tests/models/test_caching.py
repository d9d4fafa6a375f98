"""A cache gives what the teacher gave, whoever was killed while it was built."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from medistill.errors import UserError
from medistill.methods.reprogramming_distillation import ReprogrammingDistillation
from medistill.models import caching
from medistill.models.caching import CachePlan, FeatureCache, build_cache, plan_cache
from medistill.models.teachers import Cached
from medistill.types import Batch, Output
from tests.tiny import tiny_batch, tiny_student, tiny_teacher

SAMPLES, VIEWS = 12, 3


class Scripted:
    """A teacher whose outputs are a function of the image, and which counts its rows."""

    def __init__(self, scale: float = 1.0, grid: int = 3, classes: int = 0) -> None:
        generator = torch.Generator().manual_seed(3)
        self.weight = scale * torch.randn(5, 3, 1, 1, generator=generator)
        self.grid, self.classes, self.rows = grid, classes, 0

    def __call__(self, batch: Batch) -> Output:
        self.rows += len(batch)
        maps = nn.functional.conv2d(batch.images, self.weight)[..., : self.grid, : self.grid]
        features = maps.mean((2, 3))
        return Output(features[:, : self.classes] if self.classes else None, features, (maps,))


def pairs(rows: torch.Tensor) -> Batch:
    """A batch of these rows of all (sample, view); its images depend on nothing else."""
    zeros = torch.zeros(len(rows), dtype=torch.long)
    images = torch.rand(SAMPLES * VIEWS, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return Batch(images[rows], zeros, zeros, rows // VIEWS, rows % VIEWS, torch.ones(len(rows)))


def batches(size: int = 5) -> Iterator[Batch]:
    for rows in torch.randperm(SAMPLES * VIEWS).split(size):
        yield pairs(rows)


def build(folder: Path, teacher: Scripted | None = None, key: str = "key") -> FeatureCache:
    return build_cache(
        teacher or Scripted(), batches(), samples=SAMPLES, views=VIEWS, folder=folder, key=key
    )


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e-9])
def test_cached_outputs_equal_the_teachers_to_float16_accuracy(
    tmp_path: Path, scale: float
) -> None:
    teacher = Scripted(scale, classes=2)
    cached = Cached(build(tmp_path / "cache", teacher))
    batch = pairs(torch.tensor([7, 3, 30, 3]))
    expected, found = teacher(batch), cached(batch)
    assert (cached.width, cached.map_shape, cached.classes) == (5, (5, 3, 3), 2)
    for ours, theirs in [
        (found.features, expected.features),
        (found.maps[0], expected.maps[0]),
        (found.logits, expected.logits),
    ]:
        largest = theirs.abs().flatten(1).amax(1).view(-1, *(1 for _ in theirs.shape[1:]))
        assert ((ours - theirs).abs() / largest).max() < 2**-11


def test_a_loss_from_the_cache_equals_the_uncached_one_to_float16_accuracy(tmp_path: Path) -> None:
    teacher, batch = Scripted(), pairs(torch.arange(8))
    cached = Cached(build(tmp_path / "cache", teacher))
    phi = nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    losses = [
        nn.functional.cross_entropy(phi(t(batch).maps[0]), batch.targets) for t in (teacher, cached)
    ]
    torch.testing.assert_close(*losses, rtol=1e-3, atol=0)


def test_reprogramming_distillation_has_the_same_losses_from_the_cache(tmp_path: Path) -> None:
    teacher, batch = tiny_teacher(), tiny_batch()
    cache = build_cache(teacher, [batch], samples=8, views=1, folder=tmp_path / "c", key="k")
    method = ReprogrammingDistillation(tiny_student(), teacher)
    expected = method.losses(batch, 0.5)
    method.teacher = Cached(cache)
    for name, loss in method.losses(batch, 0.5).items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-3, atol=1e-5)


def test_vectors_alone_make_a_cache_without_maps(tmp_path: Path) -> None:
    teacher = Scripted()
    cache = build_cache(
        lambda batch: teacher(batch)._replace(maps=()),
        batches(),
        samples=SAMPLES,
        views=VIEWS,
        folder=tmp_path / "cache",
        key="key",
    )
    assert Cached(cache).map_shape is None
    assert Cached(cache)(pairs(torch.arange(2))).maps == ()


def test_a_cache_keeps_the_maps_of_all_scales_in_their_order(tmp_path: Path) -> None:
    teacher, batch = tiny_teacher(scales="all"), tiny_batch()
    cache = build_cache(teacher, [batch], samples=8, views=1, folder=tmp_path / "c", key="k")
    cached = Cached(cache)
    assert cached.map_shapes == teacher.map_shapes == ((4, 6, 6), (8, 3, 3))
    assert cached.map_shape == (8, 3, 3)
    for ours, theirs in zip(cached(batch).maps, teacher(batch).maps, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=float(theirs.max()) * 2**-11)


def test_a_finished_cache_is_opened_without_running_the_teacher(tmp_path: Path) -> None:
    build(tmp_path / "cache")
    teacher = Scripted()
    build(tmp_path / "cache", teacher)
    assert teacher.rows == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "cache.lock"}


def test_pairs_that_come_again_are_computed_once(tmp_path: Path) -> None:
    teacher = Scripted()
    twice = [pairs(torch.tensor([1, 1, 2])), pairs(torch.tensor([2, 3]))]
    build_cache(
        teacher, twice, samples=SAMPLES, views=VIEWS, folder=tmp_path / "c", key="k", rows=3
    )
    assert teacher.rows == 3


def test_progress_counts_rows(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    build_cache(
        Scripted(),
        batches(20),
        samples=SAMPLES,
        views=VIEWS,
        folder=tmp_path / "cache",
        key="key",
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(20, 36), (36, 36)]


def test_another_key_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "cache")
    with pytest.raises(UserError, match="made for other weights, data or views"):
        FeatureCache.open(tmp_path / "cache", "another")
    with pytest.raises(UserError, match="Delete it to build it anew"):
        build(tmp_path / "cache", key="another")


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished teacher cache"):
        FeatureCache.open(tmp_path, "key")


def test_rows_that_were_never_computed_are_refused_rather_than_zero(tmp_path: Path) -> None:
    cache = build_cache(
        Scripted(),
        [pairs(torch.arange(4))],
        samples=SAMPLES,
        views=VIEWS,
        folder=tmp_path / "cache",
        key="key",
    )
    with pytest.raises(UserError, match="no row for view 1 of sample 1"):
        cache.gather(torch.tensor([0, 1]), torch.tensor([0, 1]))


@pytest.mark.parametrize(("sample", "view"), [(SAMPLES, 0), (0, VIEWS), (0, -1)])
def test_samples_and_views_beyond_the_cache_are_refused(
    tmp_path: Path, sample: int, view: int
) -> None:
    cache = build(tmp_path / "cache")
    with pytest.raises(UserError, match=f"view {view} of sample {sample}"):
        cache.gather(torch.tensor([sample]), torch.tensor([view]))


def test_nan_is_refused_and_nothing_is_called_finished(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="features hold NaN or infinity"):
        build(tmp_path / "cache", Scripted(float("nan")))
    assert not (tmp_path / "cache").exists()


def test_no_images_make_no_cache(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no images"):
        build_cache(Scripted(), [], samples=1, views=1, folder=tmp_path / "cache", key="key")


def stop_after(count: int) -> Iterator[Batch]:
    for number, batch in enumerate(batches()):
        if number == count:
            raise KeyboardInterrupt
        yield batch


def test_an_interrupted_build_goes_on_where_it_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "COMMIT_SECONDS", 0.0)
    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        build_cache(
            Scripted(), stop_after(4), samples=SAMPLES, views=VIEWS, folder=tmp_path / "c", key="k"
        )
    teacher = Scripted()
    cache = build(tmp_path / "c", teacher, key="k")
    assert teacher.rows == SAMPLES * VIEWS - 20
    everything = pairs(torch.arange(SAMPLES * VIEWS))
    torch.testing.assert_close(
        Cached(cache)(everything).maps[0], teacher(everything).maps[0], rtol=1e-2, atol=1e-3
    )


def test_what_was_begun_under_another_key_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "COMMIT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        build_cache(
            Scripted(), stop_after(4), samples=SAMPLES, views=VIEWS, folder=tmp_path / "c", key="k"
        )
    teacher = Scripted()
    build(tmp_path / "c", teacher, key="other")
    assert teacher.rows == SAMPLES * VIEWS


def test_a_row_is_claimed_only_after_it_reached_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "COMMIT_SECONDS", 0.0)
    synced: list[str] = []
    flush = caching.Column.flush

    def record(column: caching.Column) -> None:
        claimed = np.load(tmp_path / "c.partial/done.npy").sum()
        synced.append(f"{Path(column.file.name).stem}:{claimed}")
        flush(column)

    monkeypatch.setattr(caching.Column, "flush", record)
    build_cache(
        Scripted(),
        [pairs(torch.arange(6))],
        samples=SAMPLES,
        views=VIEWS,
        folder=tmp_path / "c",
        key="k",
    )
    assert synced[:4] == ["features:0", "maps:0", "features.scale:0", "maps.scale:0"]
    assert synced[4] == "done:6"


BUILDER = """
import time
from medistill.models import caching
from tests.models import test_caching as t
caching.COMMIT_SECONDS = 0.0
class Slow(t.Scripted):
    def __call__(self, batch):
        time.sleep(0.05)
        print("row", flush=True)
        return super().__call__(batch)
t.build(t.Path({folder!r}), Slow())
"""


def start_builder(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER.format(folder=str(folder))]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def test_after_sigkill_every_claimed_row_is_right_and_is_kept(tmp_path: Path) -> None:
    with start_builder(tmp_path / "c") as process:
        for _ in range(3):
            assert process.stdout is not None
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    claimed = int(np.load(tmp_path / "c.partial/done.npy").sum())
    assert claimed >= 10
    teacher = Scripted()
    cache = build(tmp_path / "c", teacher)
    assert teacher.rows == SAMPLES * VIEWS - claimed
    everything = pairs(torch.arange(SAMPLES * VIEWS))
    torch.testing.assert_close(
        Cached(cache)(everything).features, teacher(everything).features, rtol=1e-2, atol=1e-3
    )


def test_of_several_builders_at_once_one_works_and_the_others_wait(tmp_path: Path) -> None:
    teachers = [Scripted() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:  # the lock holds between threads as between processes
        caches = list(pool.map(lambda teacher: build(tmp_path / "c", teacher), teachers))
    assert sorted(teacher.rows for teacher in teachers) == [0, 0, 0, SAMPLES * VIEWS]
    assert {cache.samples for cache in caches} == {SAMPLES}


def test_the_plan_states_bytes_rows_and_seconds(tmp_path: Path) -> None:
    plan = plan_cache(Scripted(), pairs(torch.arange(4)), rows=36, folder=tmp_path / "a/b")
    row = 2 * (5 + 5 * 9) + 2 * 4 + 1  # halves, two scales, one flag
    assert plan.bytes == 36 * row
    assert plan.free_bytes > 0 and plan.seconds > 0
    assert str(plan).startswith("teacher cache: 36 rows, 3.92 kB of ")


def test_the_plan_is_what_the_cache_takes(tmp_path: Path) -> None:
    plan = plan_cache(Scripted(), pairs(torch.arange(4)), rows=36, folder=tmp_path)
    build(tmp_path / "cache")
    headers = 128 * 5 + (tmp_path / "cache/cache.json").stat().st_size
    files = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
    assert files == plan.bytes + headers


@pytest.mark.parametrize(
    ("free", "proposal"),
    [
        (19_000, "Set teacher.grid to 2 "),
        (9_000, "Set teacher.grid to 1 "),
        (1_000, "Even teacher.grid 1 needs"),
    ],
)
def test_over_free_disk_the_grid_that_fits_is_proposed(free: int, proposal: str) -> None:
    shapes = {"features": (10,), "maps": (10, 3, 3)}
    plan = CachePlan(shapes, 100, free, 1.0, Path("/cache"))
    with pytest.raises(UserError, match=proposal):
        plan.refuse_over_free_disk()


@pytest.mark.parametrize(
    ("free", "proposal"),
    [(640_000, r"Set teacher\.grid to 3 \(621 kB"), (500_000, "Even teacher.grid 2 needs")],
)
def test_of_several_maps_a_grid_coarsens_the_last_and_none_is_left_out(
    free: int, proposal: str
) -> None:
    shapes = {"features": (10,), "maps-1": (5, 20, 30), "maps": (10, 4, 6)}
    plan = CachePlan(shapes, 100, free, 1.0, Path("/cache"))
    with pytest.raises(UserError, match=proposal):
        plan.refuse_over_free_disk()


def test_without_maps_fewer_rows_are_proposed() -> None:
    shapes = {"features": (10,), "logits": (4, 8, 8, 8)}
    plan = CachePlan(shapes, 100, 1000, 1.0, Path("/cache"), per="data.patches")
    with pytest.raises(UserError, match=r"kB free\. Lower data\.patches, set teacher\.cache"):
        plan.refuse_over_free_disk()


def test_room_that_a_killed_build_takes_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    (tmp_path / "c.partial").mkdir()
    (tmp_path / "c.partial/maps.npy").write_bytes(b"x" * 8192)
    plan = plan_cache(Scripted(), pairs(torch.arange(4)), rows=36, folder=tmp_path / "c")
    assert plan.free_bytes == 1000 + 8192


def test_a_build_over_free_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="needed, but"):
        build(tmp_path / "cache")
    assert not list(tmp_path.glob("cache*/*"))


def test_a_disk_that_fills_up_ends_in_one_line_and_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = caching.Column.flush

    def full(_: caching.Column) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.Column, "flush", full)
    with pytest.raises(UserError, match=r"full.*run the same command again"):
        build(tmp_path / "cache")
    monkeypatch.setattr(caching.Column, "flush", flush)
    assert build(tmp_path / "cache").samples == SAMPLES
