"""Average ranks against scipy, and Demšar's own example."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from medistill.evaluation.ranks import cliques, critical_difference, friedman, ranks

SCORES = arrays(float, st.tuples(st.integers(2, 6), st.integers(3, 5)),
                elements=st.sampled_from([0.1, 0.5, 0.5001, 0.9]))  # fmt: skip


@given(SCORES)
def test_ranks_are_those_of_scipy_with_the_highest_first(scores: np.ndarray) -> None:
    assert np.array_equal(ranks(scores), stats.rankdata(-scores, axis=1))


def test_means_of_the_same_seeds_in_another_order_are_tied() -> None:
    level = sum([0.66, 0.63, 0.51]) / 3, sum([0.51, 0.63, 0.66]) / 3
    assert level[0] != level[1], "the order of the sum must matter"
    assert ranks(np.array([[*level, 0.7], [*level[::-1], 0.5]])).tolist() == [
        [2.5, 2.5, 1.0], [1.5, 1.5, 3.0],
    ]  # fmt: skip


@given(SCORES)
def test_friedmans_test_is_scipys_whatever_is_tied(scores: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        theirs = stats.friedmanchisquare(*scores.T).pvalue
    ours = friedman(scores)
    assert ours == pytest.approx(1.0 if np.isnan(theirs) else theirs, abs=1e-9)


def test_the_critical_difference_of_demsars_example() -> None:
    # Section 3.2.2: four classifiers on 14 data sets.
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


def test_cliques_are_the_largest_groups_that_hold_together() -> None:
    averages = {"d": 4.0, "a": 1.0, "b": 1.8, "c": 2.5, "e": 6.0}
    assert cliques(averages, 1.0) == [["a", "b"], ["b", "c"]]
    assert cliques(averages, 1.6) == [["a", "b", "c"], ["c", "d"]]
    assert cliques(averages, 0.1) == []
