"""Distributions against scipy, which scikit-learn brings along for tests."""

import pytest
from scipy import stats

from medistill.evaluation.distributions import (
    chi_squared_tail,
    range_quantile,
    student_t_quantile,
    student_t_tails,
)


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 4.7, 30, 500])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, -2.5, 10.0])
def test_tails_of_t(t: float, freedom: float) -> None:
    assert student_t_tails(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-4)


@pytest.mark.parametrize("freedom", [1, 2, 4.7, 30])
def test_quantile_of_t(freedom: float) -> None:
    assert student_t_quantile(0.05, freedom) == pytest.approx(stats.t.isf(0.025, freedom), rel=1e-5)


@pytest.mark.parametrize("freedom", [1, 2, 3, 8])
@pytest.mark.parametrize("value", [0.0, 0.1, 3.0, 40.0])
def test_tail_of_chi_squared(value: float, freedom: int) -> None:
    assert chi_squared_tail(value, freedom) == pytest.approx(stats.chi2.sf(value, freedom))


@pytest.mark.parametrize(("count", "printed"), [(2, 1.960), (5, 2.728), (10, 3.164)])
def test_range_quantile_gives_the_values_of_nemenyis_test_that_demsar_prints(
    count: int, printed: float
) -> None:
    assert range_quantile(0.05, count) / 2**0.5 == pytest.approx(printed, abs=5e-4)
