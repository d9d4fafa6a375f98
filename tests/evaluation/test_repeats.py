"""Means over seeds: intervals and tests that count images and seeds alike."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from medistill.evaluation.repeats import Repeated, limits_of, mean_of, repeated
from medistill.results import PredictionTable
from tests.report.folders import table


def noisy(random: np.random.Generator, seeds: int, between: float, images: int) -> Repeated:
    """A difference that is zero but for noise of the images and of the seeds."""
    own = random.normal(0, between, seeds)
    sampled = random.normal(0, 1, images)
    draws = sampled[random.integers(images, size=(200, images))].mean(axis=1)
    values = own + sampled.mean()
    return Repeated(tuple(range(seeds)), values, own[:, None] + draws, images)


@pytest.mark.parametrize("between", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("seeds", [1, 3])
def test_noise_is_called_a_difference_about_once_in_twenty(between: float, seeds: int) -> None:
    if seeds == 1 and between:
        pytest.skip("one seed cannot know how much seeds differ")
    random = np.random.default_rng(0)
    found = [noisy(random, seeds, between, 60).tested().p for _ in range(300)]
    share = np.mean([p < 0.05 for p in found if p is not None])
    # Of 300 draws: 5 % give or take 1.3 %; the t of Welch and Satterthwaite errs to the safe side.
    assert 0.005 <= share <= 0.09


def test_with_noise_of_seeds_alone_it_is_the_t_test() -> None:
    values = np.array([0.02, 0.05, 0.03])
    found = Repeated((0, 1, 2), values, np.repeat(values[:, None], 50, axis=1), 100).tested()
    theirs = stats.ttest_1samp(values, 0.0)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-5)
    low, high = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-4)


def test_a_difference_is_taken_seed_by_seed_of_those_that_both_have() -> None:
    one = Repeated((0, 1, 2), np.array([0.1, 0.2, 0.9]), np.zeros((3, 4)), 10)
    other = Repeated((1, 0), np.array([0.1, 0.1]), np.zeros((2, 4)), 10)
    less = one - other
    assert less.seeds == (0, 1)
    assert less.values == pytest.approx([0.0, 0.1])


def test_the_mean_of_tasks_is_that_of_each_seed_and_draw() -> None:
    one = Repeated((0, 1, 2), np.array([0.1, 0.2, 0.9]), np.arange(12.0).reshape(3, 4), 10)
    other = Repeated((2, 0), np.array([0.3, 0.5]), np.ones((2, 4)), 7)
    mean = mean_of([one, other])
    assert mean.seeds == (0, 2)
    assert mean.values == pytest.approx([0.3, 0.6])
    assert mean.drawn == pytest.approx((np.arange(12.0).reshape(3, 4)[[0, 2]] + 1) / 2)
    assert mean.images == 7
    assert mean_of([one, replace(other, drawn=np.empty((2, 0)))]).drawn.size == 0


def test_the_error_of_a_mean_of_tasks_is_that_of_independent_ones() -> None:
    random = np.random.default_rng(0)
    parts = [Repeated((0,), np.zeros(1), random.normal(0, s, (1, 4000)), 100) for s in (3.0, 4.0)]
    low, high = mean_of(parts).spread().low, mean_of(parts).spread().high
    assert low is not None
    assert high is not None
    # Student's t with 99 degrees of freedom; of 4000 draws a deviation is known to 2 %.
    assert (high - low) / 2 == pytest.approx(1.984 * 5 / 2, rel=0.05)


def test_equal_predictions_do_not_differ_and_have_no_p_of_zero() -> None:
    same = repeated({0: table(), 1: table(seed=1)}, table(), draws=50)["accuracy"]
    found = (same - same).tested()
    assert (found.value, found.p) == (0.0, 1.0)
    apart = Repeated((0,), np.array([1.0]), np.ones((1, 99)), 10).tested()
    assert apart.p == pytest.approx(0.01)


def test_every_metric_is_measured_by_seed_on_the_same_draws() -> None:
    tables = {seed: table(seed=seed) for seed in (3, 5)}
    found = repeated(tables, tables[3], draws=50)
    right = [np.mean(t.predicted == t.targets) for t in tables.values()]
    accuracy = found["accuracy"]
    assert accuracy.seeds == (3, 5)
    assert accuracy.values == pytest.approx(right)
    assert accuracy.drawn.shape == (2, 50)
    assert accuracy.spread().sd == pytest.approx(np.std(right, ddof=1))
    assert {"auroc", "balanced_accuracy"} <= set(found)


class TestLimits:
    """Student's t knows no bounds: near the end of a scale its interval would reach beyond it."""

    def good(self, right: int, seed: int = 0) -> PredictionTable:
        """Ten patients with two images each, so many of them called right."""
        targets = np.arange(20) % 2
        sure = np.where(np.random.default_rng(seed).permutation(20) < right, 0.9, 0.2)
        found = np.stack([np.where(targets == c, sure, 1 - sure) for c in (0, 1)], 1)
        names = tuple(map(str, range(20)))
        return PredictionTable(
            "x", "test", ("a", "b"), names, targets, found.astype(np.float32), np.arange(20) // 2
        )

    def test_a_mean_of_shares_lies_between_0_and_1_and_a_difference_does_not(self) -> None:
        tables = {seed: self.good(right, seed) for seed, right in enumerate((20, 19, 12))}
        found = repeated(tables, tables[0], draws=50)
        share = found["accuracy"]
        assert replace(share, limits=(-9.0, 9.0)).spread().high == pytest.approx(1.3, abs=0.2)
        for name in ("accuracy", "auroc", "expected_calibration_error"):
            spread = found[name].spread()
            assert spread.low is not None
            assert spread.high is not None
            assert 0 <= spread.low <= spread.mean <= spread.high <= 1
        other = repeated({0: self.good(0), 1: self.good(1), 2: self.good(8)}, tables[0], draws=50)
        high = (share - other["accuracy"]).tested().high
        assert high is not None
        assert high > 1

    def test_a_loss_has_no_upper_limit(self) -> None:
        assert limits_of("negative_log_likelihood")[1] == limits_of("hd95_mm/liver")[1] == np.inf
        assert limits_of("dice/liver") == limits_of("auroc") == (0.0, 1.0)

    def test_flawless_over_all_seeds_is_no_proof(self) -> None:
        tables = {seed: self.good(20, seed) for seed in (0, 1)}
        found = repeated(tables, tables[0], draws=20)["accuracy"].spread()
        # Of ten patients, by Clopper and Pearson: 0.025 ** (1 / 10).
        assert (found.low, found.high) == (pytest.approx(0.6915, abs=1e-4), 1.0)
        both = repeated({0: self.good(20), 1: self.good(19)}, tables[0], draws=20)["accuracy"]
        assert both.spread().low != pytest.approx(0.6915, abs=1e-4)

    def test_flawless_in_all_tasks_is_none_either(self) -> None:
        tables = {0: self.good(20)}
        one = repeated(tables, tables[0], draws=20)["accuracy"]
        assert mean_of([one, one]).spread().low == pytest.approx(0.6915, abs=1e-4)


def test_the_order_of_the_samples_does_not_matter() -> None:
    whole = table()
    order = np.random.default_rng(0).permutation(len(whole))
    turned = PredictionTable(
        whole.task, whole.split, whole.classes, tuple(whole.samples[i] for i in order),
        whole.targets[order], whole.probabilities[order], whole.groups[order],
    )  # fmt: skip
    one, other = (repeated({0: t}, whole, draws=20)["accuracy"] for t in (whole, turned))
    assert np.array_equal(one.drawn, other.drawn)


def test_patients_are_drawn_whole() -> None:
    groups = np.arange(203) // 20
    found = repeated({0: table()}, replace(table(), groups=groups), draws=20)["accuracy"]
    assert found.images == 11


def test_what_is_undefined_is_left_out_and_without_draws_there_is_no_interval() -> None:
    lone = table()
    lone = replace(lone, targets=np.zeros_like(lone.targets))
    assert "auroc" not in repeated({0: lone}, lone, draws=5)
    spread = repeated({0: table()}, table(), draws=0)["accuracy"].spread()
    assert (spread.sd, spread.low, spread.high) == (None, None, None)
