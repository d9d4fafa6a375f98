"""Batches of one or more data sets."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medistill.data.augmentation import Augmentation
from medistill.data.dataset import Dataset
from medistill.data.entries import describe
from medistill.data.loading import Loader, Views
from medistill.data.order import IN_ORDER, Order
from medistill.data.picture import decode_array
from medistill.data.store import Store
from medistill.errors import UserError
from medistill.types import Batch, Task

SIDE = 12
VIEWS = Views(count=4)


def _dataset(
    folder: Path, targets: list[int], train: list[int], *, colour: frozenset[int] = frozenset()
) -> Dataset:
    """A data set of noise, whose rows in `colour` are coloured."""
    count, channels = len(targets), 3 if colour else 1
    generator = np.random.default_rng(len(targets))
    images = np.lib.format.open_memmap(
        folder / f"{count}{channels}.npy", "w+", np.uint8, (count, SIDE, SIDE, channels)
    )
    for row in range(count):
        depth = channels if row in colour else 1
        images[row] = generator.integers(0, 256, (SIDE, SIDE, depth), np.uint8)
    entries = tuple(describe(decode_array(np.asarray(i)), f"{n}", "") for n, i in enumerate(images))
    others = np.array([row for row in range(count) if row not in train], dtype=np.int64)
    names = tuple(f"class {name}" for name in range(max(targets) + 1))
    return Dataset(
        Task("noise", "classification", names, count),
        Store(images, entries, "key"),
        np.array(targets, dtype=np.int64),
        {"train": np.array(train, dtype=np.int64), "test": others},
        (None,) * count,
    )


@pytest.fixture
def grey(tmp_path: Path) -> Dataset:
    return _dataset(tmp_path, [0] * 12 + [1] * 6 + [2] * 4, list(range(20)))


@pytest.fixture
def mixed(tmp_path: Path) -> Dataset:
    return _dataset(tmp_path, [0, 1, 0, 1, 0, 1, 0], [0, 2, 3, 4, 5], colour=frozenset({2, 3}))


def _samples(batches: list[Batch]) -> list[list[int]]:
    return [batch.samples.tolist() for batch in batches]


def _pixels(dataset: Dataset, row: int) -> NDArray[np.float32]:
    image = np.asarray(dataset.store.images[row], dtype=np.float32) / np.float32(255)
    return np.broadcast_to(image.transpose(2, 0, 1), (3, SIDE, SIDE))


def test_an_epoch_is_decided_by_its_number_alone(grey: Dataset) -> None:
    whole = Loader([grey], "train", batch_size=6, views=VIEWS)
    earlier = [list(whole.epoch(number)) for number in range(3)]
    resumed = list(Loader([grey], "train", batch_size=6, views=VIEWS).epoch(2))
    assert _samples(resumed) == _samples(earlier[2]) != _samples(earlier[1])
    for before, after in zip(earlier[2], resumed, strict=True):
        assert torch.equal(before.views, after.views)
        assert torch.equal(before.images, after.images)


def test_two_processes_together_see_what_one_sees(grey: Dataset) -> None:
    one = list(Loader([grey], "train", batch_size=6, views=VIEWS).epoch(1))
    two = [
        list(Loader([grey], "train", batch_size=6, views=VIEWS, rank=rank, world=2).epoch(1))
        for rank in range(2)
    ]
    for whole, *parts in zip(one, *two, strict=True):
        for rank, part in enumerate(parts):
            assert torch.equal(part.samples, whole.samples[rank::2])
            assert torch.equal(part.images, whole.images[rank::2])


def test_tasks_come_alike_and_divided_as_one_process_sees_them(
    grey: Dataset, mixed: Dataset
) -> None:
    order, both = Order(task_sampling="balanced"), [grey, mixed]
    (one,) = Loader(both, "train", batch_size=24, order=order).epoch(1)
    # 25 samples, of which one stays behind
    assert (one.tasks.bincount() - 12).abs().max() <= 1
    for rank in range(2):
        (part,) = Loader(both, "train", batch_size=24, order=order, rank=rank, world=2).epoch(1)
        assert torch.equal(part.samples, one.samples[rank::2])


def test_every_sample_shows_every_view_once_in_as_many_epochs(grey: Dataset) -> None:
    loader = Loader([grey], "train", batch_size=5, views=VIEWS)
    shown = [
        (sample, view)
        for epoch in range(7, 11)
        for batch in loader.epoch(epoch)
        for sample, view in zip(batch.samples.tolist(), batch.views.tolist(), strict=True)
    ]
    assert sorted(shown) == [(sample, view) for sample in range(20) for view in range(4)]


def test_every_epoch_holds_different_views(grey: Dataset) -> None:
    batches = list(Loader([grey], "train", batch_size=20, views=VIEWS).epoch(0))
    assert set(batches[0].views.tolist()) == {0, 1, 2, 3}


def test_a_sample_that_comes_again_in_an_epoch_shows_another_view(grey: Dataset) -> None:
    order = Order(sampling="balanced", drop_last=False)
    (batch,) = Loader([grey], "train", batch_size=20, order=order, views=VIEWS).epoch(0)
    shown = list(zip(batch.samples.tolist(), batch.views.tolist(), strict=True))
    assert len(set(batch.samples.tolist())) < 20
    assert len(set(shown)) == 20


def test_balanced_batches_show_classes_equally_often(grey: Dataset) -> None:
    order = Order(sampling="balanced")
    (batch,) = Loader([grey], "train", batch_size=20, order=order).epoch(0)
    assert sorted(batch.targets.bincount().tolist()) == [6, 7, 7]


def test_judging_goes_through_the_split_in_order_and_as_it_is(grey: Dataset) -> None:
    loader = Loader([grey], "train", batch_size=8, order=IN_ORDER)
    batches = list(loader.epoch(0))
    assert len(loader) == 3
    assert _samples(batches) == [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    for batch in batches:
        for image, row in zip(batch.images, batch.samples.tolist(), strict=True):
            np.testing.assert_array_equal(image.numpy(), _pixels(grey, row))


def test_a_last_batch_that_is_not_full_is_left_out_of_training(grey: Dataset) -> None:
    loader = Loader([grey], "train", batch_size=8)
    assert [len(batch) for batch in loader.epoch(0)] == [8, 8]
    assert len(loader) == 2


def test_a_batch_shrinks_to_a_split_that_is_smaller(mixed: Dataset) -> None:
    assert [len(batch) for batch in Loader([mixed], "train", batch_size=64).epoch(0)] == [5]
    loader = Loader([mixed], "train", batch_size=64, rank=1, world=2)
    assert [len(batch) for batch in loader.epoch(0)] == [2]


def test_grey_and_colour_images_stand_in_one_batch(mixed: Dataset) -> None:
    (batch,) = Loader([mixed], "train", batch_size=5, order=IN_ORDER).epoch(0)
    for image, row in zip(batch.images, [0, 2, 3, 4, 5], strict=True):
        np.testing.assert_array_equal(image.numpy(), _pixels(mixed, row))


def test_a_view_does_not_depend_on_the_images_beside_it(mixed: Dataset) -> None:
    whole = Loader([mixed], "train", batch_size=5, views=Views(count=2), order=IN_ORDER)
    single = Loader([mixed], "train", batch_size=1, views=Views(count=2), order=IN_ORDER)
    (together,) = whole.epoch(1)
    alone = torch.cat([batch.images for batch in single.epoch(1)])
    assert torch.equal(together.images, alone)


def test_samples_of_several_data_sets_have_numbers_of_their_own(
    grey: Dataset, mixed: Dataset
) -> None:
    loader = Loader([grey, mixed], "train", batch_size=25, order=IN_ORDER)
    (batch,) = loader.epoch(0)
    assert loader.rows == 22 + 7
    assert loader.samples.tolist() == [*range(20), 22, 24, 25, 26, 27]
    assert batch.samples.tolist() == loader.samples.tolist()
    assert batch.tasks.tolist() == [0] * 20 + [1] * 5
    assert batch.targets.tolist() == [*grey.targets[:20], 0, 0, 1, 0, 1]
    np.testing.assert_array_equal(batch.images[-1].numpy(), _pixels(mixed, 5))


def test_a_cache_is_filled_with_every_view_once(grey: Dataset) -> None:
    loader = Loader([grey], "train", batch_size=8, views=VIEWS, rank=1, world=2)
    batches = list(loader.every_view())
    shown = [
        pair
        for batch in batches
        for pair in zip(batch.views.tolist(), batch.samples.tolist(), strict=True)
    ]
    assert shown == [(view, sample) for view in range(4) for sample in range(20)]


def test_a_cached_view_is_the_one_that_training_shows(mixed: Dataset) -> None:
    loader = Loader([mixed], "train", batch_size=2, views=VIEWS, order=Order(drop_last=False))
    cached = {
        (int(sample), int(view)): image
        for batch in loader.every_view()
        for sample, view, image in zip(batch.samples, batch.views, batch.images, strict=True)
    }
    for batch in loader.epoch(3):
        for sample, view, image in zip(batch.samples, batch.views, batch.images, strict=True):
            assert torch.equal(cached[int(sample), int(view)], image)


def test_weights_are_one_unless_classes_shall_count_alike(grey: Dataset) -> None:
    (plain,) = Loader([grey], "train", batch_size=20).epoch(0)
    assert plain.weights.tolist() == [1.0] * 20


def test_rare_classes_weigh_more_and_the_mean_is_one(grey: Dataset) -> None:
    (batch,) = Loader([grey], "train", batch_size=20, class_weights=True).epoch(0)
    totals = torch.zeros(3).index_add(0, batch.targets, batch.weights)
    torch.testing.assert_close(totals, torch.full((3,), 20 / 3))


def test_an_error_while_a_batch_is_made_reaches_who_wants_it(
    grey: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a broken view")

    monkeypatch.setattr("medistill.data.loading.augment", fails)
    with pytest.raises(RuntimeError, match="a broken view"):
        next(Loader([grey], "train", batch_size=4, views=VIEWS).epoch(0))


def test_leaving_an_epoch_early_ends_its_threads(grey: Dataset) -> None:
    before = threading.active_count()
    batches = Loader([grey], "train", batch_size=2, views=VIEWS).epoch(0)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_an_empty_split_is_named(grey: Dataset) -> None:
    with pytest.raises(UserError, match="The validation split has 0 images"):
        Loader([grey], "validation", batch_size=4)


def test_a_batch_that_processes_cannot_share_is_refused(grey: Dataset) -> None:
    with pytest.raises(UserError, match=r"training\.batch_size is 7, which 2 processes"):
        Loader([grey], "train", batch_size=7, world=2)


def test_no_augmentation_shows_all_views_alike(grey: Dataset) -> None:
    nothing = Augmentation(
        rotation_degrees=0.0,
        scale=0.0,
        shift=0.0,
        brightness=0.0,
        contrast=0.0,
        gamma=0.0,
        noise=0.0,
    )
    views = Views(count=3, augmentation=nothing)
    loader = Loader([grey], "train", batch_size=20, views=views, order=IN_ORDER)
    (first,), (second,) = loader.epoch(0), loader.epoch(1)
    torch.testing.assert_close(first.images, second.images, rtol=0, atol=1e-5)
