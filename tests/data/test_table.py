"""Several data sets as one table."""

from pathlib import Path

import numpy as np
import pytest

from medistill.data.dataset import Dataset
from medistill.data.entries import describe
from medistill.data.picture import decode_array
from medistill.data.store import Store
from medistill.data.table import Table, inverse_frequencies
from medistill.types import Task


def _dataset(folder: Path, targets: list[int], *, size: int = 4, channels: int = 1) -> Dataset:
    count = len(targets)
    path = folder / f"{count}-{size}-{channels}.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, size, size, channels))
    images[:] = np.arange(images.size).reshape(images.shape) % 251
    entries = tuple(describe(decode_array(np.asarray(i)), f"{n}", "") for n, i in enumerate(images))
    return Dataset(
        Task("made", "classification", ("a", "b"), count),
        Store(images, entries, "key"),
        np.array(targets, dtype=np.int64),
        {"train": np.arange(1, count)},
        (None,) * count,
    )


@pytest.fixture
def two(tmp_path: Path) -> list[Dataset]:
    return [_dataset(tmp_path, [0, 0, 1, -1]), _dataset(tmp_path, [0, 1, 1], channels=3)]


def test_numbers_run_through_all_data_sets(two: list[Dataset]) -> None:
    table = Table(two)
    assert len(table) == 7
    assert table.tasks.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert [part.tolist() for part in table.split("train")] == [[1, 2, 3], [5, 6]]


def test_a_split_that_no_data_set_has_is_empty(two: list[Dataset]) -> None:
    assert [part.tolist() for part in Table(two).split("validation")] == [[], []]


def test_a_class_of_one_task_is_not_that_of_another(two: list[Dataset]) -> None:
    groups = Table(two).groups.tolist()
    assert groups[0] == groups[1]
    assert len(set(groups)) == 5


def test_pixels_come_from_the_right_store(two: list[Dataset]) -> None:
    found = Table(two).pixels(np.array([5, 0]), 1)
    np.testing.assert_array_equal(found[0, 0], two[1].store.images[1, ..., 0])
    np.testing.assert_array_equal(found[1, 0], two[0].store.images[0, ..., 0])


def test_colour_is_known_for_each_image(two: list[Dataset]) -> None:
    assert Table(two).colour.tolist() == [False] * 4 + [True] * 3


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stores of one size"):
        Table([_dataset(tmp_path, [0, 1]), _dataset(tmp_path, [0, 1], size=5)])


def test_weights_balance_each_task_by_itself(two: list[Dataset]) -> None:
    weights = Table(two).weights("train")
    np.testing.assert_allclose(weights, [1, 1, 1, 1, 1, 1, 1])


def test_rare_classes_weigh_more_and_samples_without_a_label_weigh_one() -> None:
    weights = inverse_frequencies(np.array([0, -1, 1, 0, 0, -1]))
    np.testing.assert_allclose(weights, [2 / 3, 1, 2, 2 / 3, 2 / 3, 1], rtol=1e-6)
