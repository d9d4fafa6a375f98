"""Metrics of order, by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from medistill.evaluation.metrics.ranking import auroc, average_precision, curve


def once(scores, positive):
    scores = np.asarray(scores, float)
    return curve(scores, np.asarray(positive, bool), np.ones((1, len(scores))))


# Few distinct scores, so that ties are the rule.
scored = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40)


class TestByHand:
    def test_perfect_order_has_an_area_of_one(self):
        assert auroc(once([0.9, 0.8, 0.1], [1, 1, 0])) == [1]
        assert average_precision(once([0.9, 0.8, 0.1], [1, 1, 0])) == [1]

    def test_reversed_order_has_none(self):
        assert auroc(once([0.1, 0.9], [1, 0])) == [0]

    def test_equal_scores_count_half(self):
        assert auroc(once([0.5, 0.5, 0.5], [1, 0, 0])) == [0.5]

    def test_one_swapped_pair_of_four(self):
        assert auroc(once([4, 3, 2, 1], [1, 0, 1, 0])) == [0.75]
        np.testing.assert_allclose(
            average_precision(once([4, 3, 2, 1], [1, 0, 1, 0])), [(1 + 2 / 3) / 2]
        )

    @pytest.mark.parametrize("positive", [[1, 1], [0, 0]])
    def test_area_needs_both_kinds(self, positive):
        assert np.isnan(auroc(once([1, 2], positive))[0])

    def test_precision_needs_a_positive(self):
        assert np.isnan(average_precision(once([1, 2], [0, 0]))[0])

    def test_no_sample_gives_no_number(self):
        assert np.isnan(auroc(once([], []))[0])
        assert np.isnan(average_precision(once([], []))[0])


@given(scored)
def test_same_as_scikit_learn(pairs):
    scores, positive = (np.array(column) for column in zip(*pairs, strict=True))
    assume(0 < positive.sum() < len(positive))
    found = once(scores, positive)
    assert auroc(found)[0] == pytest.approx(oracle.roc_auc_score(positive, scores))
    assert average_precision(found)[0] == pytest.approx(
        oracle.average_precision_score(positive, scores)
    )


@given(scored, st.integers(0, 2**32 - 1))
def test_weights_do_what_repeated_samples_do(pairs, seed):
    scores, positive = (np.array(column) for column in zip(*pairs, strict=True))
    times = np.random.default_rng(seed).integers(0, 4, len(scores))
    weighted = curve(scores.astype(float), positive, times[None].astype(float))
    repeated = once(np.repeat(scores, times), np.repeat(positive, times))
    for metric in (auroc, average_precision):
        np.testing.assert_allclose(metric(weighted), metric(repeated))


@given(scored)
def test_only_the_order_of_scores_counts(pairs):
    scores, positive = (np.array(column) for column in zip(*pairs, strict=True))
    for metric in (auroc, average_precision):
        np.testing.assert_array_equal(
            metric(once(scores, positive)), metric(once(np.exp(scores), positive))
        )
