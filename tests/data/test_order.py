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


@given(st.lists(st.integers(min_value=0, max_value=5), max_size=20))
def test_occurrences_count_what_came_before(samples: list[int]) -> None:
    wanted = [samples[:place].count(sample) for place, sample in enumerate(samples)]
    assert list(occurrences(np.array(samples, dtype=np.int64))) == wanted
