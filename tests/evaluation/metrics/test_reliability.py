"""Metrics of probabilities, by hand, naively, and against scikit-learn."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as oracle

from medistill.evaluation.metrics.reliability import (
    brier,
    expected_calibration_error,
    negative_log_likelihood,
)


def sample(classes, many=200, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(classes), many)
    return probabilities, generator.integers(0, classes, many)


def naive_calibration_error(probabilities, targets):
    confidence, right = probabilities.max(1), probabilities.argmax(1) == targets
    edges, error = np.linspace(0, 1, 16), 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


class TestByHand:
    sure = np.array([[0.0, 1.0], [0.0, 1.0]])

    def test_a_sure_and_right_network_errs_nowhere(self):
        for metric in (expected_calibration_error, negative_log_likelihood, brier):
            assert metric(self.sure, np.array([1, 1]), np.ones((1, 2))) == [0]

    def test_a_sure_network_that_is_half_right_is_off_by_half(self):
        assert expected_calibration_error(self.sure, np.array([0, 1]), np.ones((1, 2))) == [0.5]

    def test_a_sure_and_wrong_network_keeps_a_finite_surprise(self):
        surprise = negative_log_likelihood(self.sure[:1], np.array([0]), np.ones((1, 1)))
        assert surprise == pytest.approx([87.3], abs=0.1)

    def test_a_fair_coin_surprises_by_the_logarithm_of_two(self):
        fair = np.array([[0.5, 0.5]])
        assert negative_log_likelihood(fair, np.array([0]), np.ones((1, 1))) == np.log(2)
        assert brier(fair, np.array([0]), np.ones((1, 1))) == [0.25]

    @pytest.mark.parametrize("metric", [expected_calibration_error, negative_log_likelihood, brier])
    def test_no_sample_gives_no_number(self, metric):
        assert np.isnan(metric(np.empty((0, 2)), np.empty(0, int), np.ones((1, 0)))).all()


@pytest.mark.parametrize("classes", [2, 3, 10])
class TestAgainstOthers:
    def test_calibration_error_is_the_naive_one(self, classes):
        probabilities, targets = sample(classes)
        found = expected_calibration_error(probabilities, targets, np.ones((1, len(targets))))
        assert found[0] == pytest.approx(naive_calibration_error(probabilities, targets))

    def test_surprise_is_scikit_learns(self, classes):
        probabilities, targets = sample(classes)
        found = negative_log_likelihood(probabilities, targets, np.ones((1, len(targets))))
        assert found[0] == pytest.approx(oracle.log_loss(targets, probabilities))

    def test_brier_is_scikit_learns(self, classes):
        probabilities, targets = sample(classes)
        scores = probabilities[:, 1] if classes == 2 else probabilities
        found = brier(probabilities, targets, np.ones((1, len(targets))))
        assert found[0] == pytest.approx(oracle.brier_score_loss(targets, scores))

    @pytest.mark.parametrize("metric", [expected_calibration_error, negative_log_likelihood, brier])
    def test_weights_do_what_repeated_samples_do(self, classes, metric):
        probabilities, targets = sample(classes)
        times = np.random.default_rng(1).integers(0, 4, len(targets))
        weighted = metric(probabilities, targets, times[None].astype(float))
        repeated = metric(
            np.repeat(probabilities, times, axis=0),
            np.repeat(targets, times),
            np.ones((1, times.sum())),
        )
        np.testing.assert_allclose(weighted, repeated)
