"""Which samples come when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.data.order import IN_ORDER, SHUFFLED, Order, occurrences

SAMPLES = np.arange(10, 40)
GROUPS = np.array([0] * 20 + [1] * 7 + [5] * 3)
BALANCED = Order(sampling="balanced")


def test_an_epoch_shows_every_sample_once() -> None:
    assert sorted(SHUFFLED.epoch(3, SAMPLES, GROUPS)) == list(SAMPLES)


@pytest.mark.parametrize("order", [SHUFFLED, BALANCED])
def test_the_order_is_decided_by_seed_and_epoch_alone(order: Order) -> None:
    first = order.epoch(3, SAMPLES, GROUPS)
    order.epoch(4, SAMPLES, GROUPS)
    assert (order.epoch(3, SAMPLES, GROUPS) == first).all()


@pytest.mark.parametrize("sampling", ["plain", "balanced"])
def test_another_epoch_or_seed_gives_another_order(sampling: str) -> None:
    orders = [
        Order(seed=seed, sampling=sampling).epoch(epoch, SAMPLES, GROUPS)
        for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    ]
    assert len({tuple(order) for order in orders}) == 3


def test_samples_come_as_they_stand_for_judging() -> None:
    assert (IN_ORDER.epoch(5, SAMPLES, GROUPS) == SAMPLES).all()


def test_a_balanced_epoch_shows_every_group_equally_often() -> None:
    drawn = BALANCED.epoch(0, SAMPLES, GROUPS)
    names, counts = np.unique(GROUPS[drawn - 10], return_counts=True)
    assert list(names) == [0, 1, 5]
    assert list(counts) == [10, 10, 10]


def test_in_a_balanced_epoch_none_comes_again_before_all_of_its_group_came() -> None:
    drawn = BALANCED.epoch(0, SAMPLES, GROUPS)
    counts = np.array([(drawn == sample).sum() for sample in SAMPLES])
    assert counts[GROUPS == 0].max() == 1
    assert set(counts[GROUPS == 1]) == {1, 2}
    assert set(counts[GROUPS == 5]) == {3, 4}


def test_an_uneven_division_favours_no_group_forever() -> None:
    samples, groups = np.arange(7), np.array([0, 0, 0, 0, 0, 1, 1])
    ones = {int((groups[BALANCED.epoch(e, samples, groups)] == 1).sum()) for e in range(20)}
    assert ones == {3, 4}


def test_a_large_group_shows_all_its_samples_in_the_end() -> None:
    seen = set(np.concatenate([BALANCED.epoch(e, SAMPLES, GROUPS) for e in range(20)]))
    assert seen == set(SAMPLES)


TASKS = np.repeat([0, 1, 2], [200, 50, 8])
CLASSES = np.arange(258) % 3 + 3 * TASKS
MANY = np.arange(1000, 1258)


@pytest.mark.parametrize(
    ("task_sampling", "counts"),
    [
        ("proportional", [200, 50, 8]),
        # 258 by 14.14, 7.07 and 2.83
        ("square_root", [152, 76, 30]),
        ("balanced", [86, 86, 86]),
    ],
)
@pytest.mark.parametrize("sampling", ["plain", "balanced"])
def test_tasks_come_by_their_size_its_root_or_all_alike(
    task_sampling: str, counts: list[int], sampling: str
) -> None:
    order = Order(task_sampling=task_sampling, sampling=sampling)
    drawn = order.epoch(3, MANY, CLASSES, TASKS) - 1000
    assert np.bincount(TASKS[drawn]).tolist() == counts
    if sampling == "balanced":
        shown = np.bincount(CLASSES[drawn]).reshape(3, 3)
        assert (np.ptp(shown, axis=1) <= 1).all()


@pytest.mark.parametrize("task_sampling", ["square_root", "balanced"])
def test_over_the_epochs_none_of_a_task_comes_again_before_all_came(task_sampling: str) -> None:
    order = Order(task_sampling=task_sampling)
    drawn = [order.epoch(epoch, MANY, CLASSES, TASKS) - 1000 for epoch in range(7)]
    for last in range(1, 8):
        times = np.bincount(np.concatenate(drawn[:last]), minlength=258)
        assert all(np.ptp(times[task == TASKS]) <= 1 for task in range(3))


def test_chosen_tasks_come_mixed_and_by_seed_and_epoch_alone() -> None:
    order = Order(task_sampling="balanced")
    first = order.epoch(3, MANY, CLASSES, TASKS)
    assert (order.epoch(3, MANY, CLASSES, TASKS) == first).all()
    assert len({*TASKS[first[:32] - 1000].tolist()}) == 3
    others = [order.epoch(4, MANY, CLASSES, TASKS)]
    others.append(Order(seed=1, task_sampling="balanced").epoch(3, MANY, CLASSES, TASKS))
    assert all((other != first).any() for other in others)


@given(
    st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=6),
    st.sampled_from(["square_root", "balanced"]),
)
def test_an_epoch_is_as_long_however_tasks_are_chosen(sizes: list[int], chosen: str) -> None:
    tasks = np.repeat(np.arange(len(sizes)), sizes)
    drawn = Order(task_sampling=chosen).epoch(2, np.arange(len(tasks)), tasks, tasks)
    assert len(drawn) == len(tasks)


@given(st.lists(st.integers(min_value=0, max_value=5), max_size=20))
def test_occurrences_count_what_came_before(samples: list[int]) -> None:
    wanted = [samples[:place].count(sample) for place, sample in enumerate(samples)]
    assert list(occurrences(np.array(samples, dtype=np.int64))) == wanted
