"""Random numbers that only their keys decide."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medistill.data.counters import uniforms

Key = st.integers(min_value=-(2**62), max_value=2**62)


@given(Key, st.lists(Key, min_size=1, max_size=9))
def test_a_row_is_the_same_alone_and_among_others(seed: int, samples: list[int]) -> None:
    together = uniforms(3, seed, np.array(samples))
    alone = np.concatenate([uniforms(3, seed, sample) for sample in samples])
    assert (together == alone).all()


@given(Key, Key)
def test_more_numbers_begin_with_the_same_ones(seed: int, sample: int) -> None:
    assert (uniforms(7, seed, sample)[:, :3] == uniforms(3, seed, sample)).all()


def test_numbers_spread_evenly_over_zero_to_one() -> None:
    numbers = uniforms(4, 0, np.arange(25_000)).ravel()
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    # Ten thousand fall into each tenth, with a standard deviation of 95.
    assert np.abs(counts - 10_000).max() < 500


def test_neighbouring_keys_give_unrelated_numbers() -> None:
    numbers = uniforms(1, 0, np.arange(10_000))[:, 0]
    for other in (np.roll(numbers, 1), uniforms(1, 1, np.arange(10_000))[:, 0]):
        assert abs(np.corrcoef(numbers, other)[0, 1]) < 0.04  # four standard deviations


def test_the_order_of_the_keys_counts() -> None:
    assert uniforms(1, 1, 2) != uniforms(1, 2, 1)


def test_numbers_are_those_of_every_other_machine() -> None:
    golden = [[0.653200308834717, 0.5781814693974294, 0.5073326484299246]]
    np.testing.assert_array_equal(uniforms(3, 0, 1), golden)
