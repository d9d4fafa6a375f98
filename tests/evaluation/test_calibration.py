"""A temperature makes probabilities honest, or stays out of the way."""

import numpy as np
import pytest

from medistill.evaluation.calibration import fit_temperature


def honest(many=4000, classes=3, seed=0):
    """Logits whose softmax is the truth's distribution."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(many, classes)) * 2
    noise = generator.gumbel(size=logits.shape)
    return logits, (logits + noise).argmax(axis=1)


def surprise(logits, targets, temperature):
    scaled = logits / temperature
    likelihood = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
    return -np.log(likelihood[np.arange(len(targets)), targets]).mean()


@pytest.mark.parametrize("wrong", [0.25, 1.0, 5.0])
def test_finds_the_temperature_that_was_applied(wrong):
    logits, targets = honest()
    assert fit_temperature(logits * wrong, targets) == pytest.approx(wrong, rel=0.06)


def test_no_other_temperature_is_likelier():
    logits, targets = honest(many=100)
    found = fit_temperature(logits, targets)
    best = surprise(logits, targets, found)
    assert all(surprise(logits, targets, found * factor) > best for factor in (0.98, 1.02))


def test_stays_at_one_when_every_sample_is_right():
    logits = np.array([[3.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, np.array([0, 1])) == 1


def test_stays_at_one_when_logits_say_the_opposite():
    logits = np.array([[3.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, np.array([1, 0])) == 1


@pytest.mark.parametrize("many", [0, 3])
def test_stays_at_one_without_labels(many):
    assert fit_temperature(np.ones((many, 2)), np.full(many, -1)) == 1


def test_unlabelled_samples_change_nothing():
    logits, targets = honest(many=50)
    more = np.concatenate([logits, logits]), np.concatenate([targets, np.full(50, -1)])
    assert fit_temperature(*more) == fit_temperature(logits, targets)


def test_huge_logits_stay_finite():
    logits, targets = honest(many=100)
    # Beyond the bounds, so validation cannot tell.
    assert fit_temperature(logits * 1e6, targets) == 1
