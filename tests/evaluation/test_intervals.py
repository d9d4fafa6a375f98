"""The bootstrap draws patients, and its intervals are those of textbooks."""

import numpy as np
import pytest

from medistill.evaluation.intervals import bootstrap, flawless_interval, groups_of, interval, units

ALONE = np.full(50, -1)


def test_patients_are_numbered_as_they_appear():
    groups = groups_of(["b", None, "a", "b", None])
    np.testing.assert_array_equal(groups, [0, -1, 1, 0, -1])


def test_samples_without_a_patient_stand_alone():
    assert len(np.unique(units(np.array([0, -1, 1, 0, -1])))) == 4


class TestBootstrap:
    def test_each_draw_takes_as_many_samples_as_there_are(self):
        (weights,) = bootstrap(ALONE, 20, seed=0)
        assert weights.shape == (20, 50)
        np.testing.assert_array_equal(weights.sum(axis=1), 50)

    def test_samples_of_a_patient_come_together(self):
        groups = np.array([0, 1, 0, 2, -1, 1])
        (weights,) = bootstrap(groups, 50, seed=0)
        np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
        np.testing.assert_array_equal(weights[:, 1], weights[:, 5])
        np.testing.assert_array_equal(weights[:, [0, 1, 3, 4]].sum(axis=1), 4)

    def test_every_sample_is_drawn_once_on_average(self):
        weights = np.concatenate(list(bootstrap(ALONE, 4000, seed=0)))
        # The mean of 4000 draws of a variance near 1 strays by 0.016.
        np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.07)

    def test_equal_seeds_draw_alike_and_others_do_not(self):
        (one,), (same,), (other,) = (bootstrap(ALONE, 5, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_large_tables_come_in_blocks(self):
        blocks = [len(block) for block in bootstrap(np.full(900_000, -1), 3, seed=0)]
        assert blocks == [2, 1]


class TestInterval:
    def test_is_the_middle_95_per_cent(self):
        assert interval(np.arange(1001.0)) == pytest.approx((25, 975))

    def test_leaves_out_draws_in_which_a_metric_is_undefined(self):
        values = np.append(np.arange(1001.0), [np.nan] * 100)
        assert interval(values) == pytest.approx((25, 975))

    def test_of_no_defined_draw_is_undefined(self):
        assert np.isnan(interval(np.array([np.nan]))).all()

    def test_of_a_share_agrees_with_the_normal_approximation(self):
        right = np.arange(400) < 300
        draws = np.concatenate(list(bootstrap(np.full(400, -1), 2000, seed=0))) @ right / 400
        half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
        # 2000 draws place a 2.5 % quantile to some 0.0015.
        assert interval(draws) == pytest.approx((0.75 - half, 0.75 + half), abs=0.006)


class TestFlawless:
    def test_twenty_of_twenty_may_be_83_per_cent(self):
        low, high = flawless_interval(1.0, 20)
        assert (low, high) == (pytest.approx(0.8316, abs=1e-4), 1.0)

    def test_none_of_twenty_is_its_mirror(self):
        low, high = flawless_interval(0.0, 20)
        assert (low, high) == (0.0, pytest.approx(1 - 0.8316, abs=1e-4))
