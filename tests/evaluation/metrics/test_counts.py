"""Metrics of decisions, by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from medistill.evaluation.metrics.counts import (
    accuracy,
    balanced_accuracy,
    count,
    macro_f1,
    mean_of_defined,
    sensitivity,
    share,
    specificity,
)


def once(targets, predicted, classes):
    targets, predicted = np.asarray(targets), np.asarray(predicted)
    return count(targets, predicted, np.ones((1, len(targets))), classes)


labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


class TestByHand:
    counts = staticmethod(lambda: once([0, 0, 0, 1], [0, 0, 1, 1], 2))

    def test_accuracy_is_the_share_of_right_calls(self):
        assert accuracy(self.counts()) == [0.75]

    def test_sensitivity_and_specificity_mirror_each_other_in_two_classes(self):
        np.testing.assert_allclose(sensitivity(self.counts()), [[2 / 3, 1]])
        np.testing.assert_allclose(specificity(self.counts()), [[1, 2 / 3]])

    def test_balanced_accuracy_is_the_mean_sensitivity(self):
        np.testing.assert_allclose(balanced_accuracy(self.counts()), [5 / 6])

    def test_f1_is_the_mean_over_both_classes(self):
        np.testing.assert_allclose(macro_f1(self.counts()), [(4 / 5 + 2 / 3) / 2])

    def test_a_class_never_called_has_an_f1_of_nothing(self):
        np.testing.assert_allclose(macro_f1(once([0, 1], [0, 0], 2)), [1 / 3])


class TestAbsentClasses:
    def test_have_no_sensitivity(self):
        assert np.isnan(sensitivity(once([0, 0], [0, 1], 3))[0, 1:]).all()

    def test_leave_a_lonely_class_without_specificity(self):
        assert np.isnan(specificity(once([0, 0], [0, 1], 2))[0, 0])

    def test_do_not_count_in_means(self):
        counts = once([0, 0, 1], [0, 2, 1], 3)
        assert balanced_accuracy(counts) == [0.75]
        np.testing.assert_allclose(macro_f1(counts), [(2 / 3 + 1) / 2])

    def test_a_mean_of_nothing_is_undefined(self):
        assert np.isnan(mean_of_defined(np.full((2, 3), np.nan))).all()

    def test_a_share_of_nothing_is_undefined(self):
        np.testing.assert_array_equal(share(np.zeros(2), np.array([0.0, 2.0])), [np.nan, 0])


class TestAgainstScikitLearn:
    @given(labels)
    def test_every_metric_is_the_same(self, pairs):
        targets, predicted = (np.array(column) for column in zip(*pairs, strict=True))
        counts, present = once(targets, predicted, 4), np.unique(targets)
        recall = oracle.recall_score(
            targets, predicted, labels=present, average=None, zero_division=0
        )
        f1 = oracle.f1_score(targets, predicted, labels=present, average="macro", zero_division=0)
        assert accuracy(counts)[0] == pytest.approx(oracle.accuracy_score(targets, predicted))
        assert sensitivity(counts)[0, present] == pytest.approx(recall)
        assert balanced_accuracy(counts)[0] == pytest.approx(recall.mean())
        assert macro_f1(counts)[0] == pytest.approx(f1)

    @given(labels)
    def test_specificity_is_the_others_sensitivity(self, pairs):
        targets, predicted = (np.array(column) for column in zip(*pairs, strict=True))
        if np.all(targets == 0):
            return
        wanted = oracle.recall_score(targets != 0, predicted != 0, zero_division=0)
        assert specificity(once(targets, predicted, 4))[0, 0] == pytest.approx(wanted)


@given(labels, st.integers(0, 2**32 - 1))
def test_weights_do_what_repeated_samples_do(pairs, seed):
    targets, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    times = np.random.default_rng(seed).integers(0, 4, len(targets))
    weighted = count(targets, predicted, times[None].astype(float), 4)
    repeated = once(np.repeat(targets, times), np.repeat(predicted, times), 4)
    for metric in (accuracy, balanced_accuracy, macro_f1, sensitivity, specificity):
        np.testing.assert_allclose(metric(weighted), metric(repeated))
