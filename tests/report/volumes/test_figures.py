"""Spreads and agreement, as far as words tell them."""

import numpy as np
import pytest

from medistill.report.volumes.figures import Agreement, agreement, signed, spread
from medistill.report.wording import MINUS


class TestAgreement:
    found = Agreement(np.array([10.0, 20.0, 30.0]), np.array([-1.0, 0.0, 4.0]))

    def test_bias_and_limits_are_those_of_bland_and_altman(self):
        low, high = self.found.limits
        assert self.found.bias == 1
        assert (low + high) / 2 == pytest.approx(1)
        # Differences of -1, 0 and 4 have a variance of 7.
        assert high - low == pytest.approx(2 * 1.96 * 7**0.5)

    def test_one_case_has_no_limits(self):
        assert Agreement(np.array([5.0]), np.array([1.0])).limits is None

    def test_picture_says_what_it_shows(self):
        told = agreement(self.found, "liver & <spleen>")
        assert f"bias +1.00, limits {MINUS}4.19 to +6.19 millilitres" in told
        assert "liver &amp; &lt;spleen&gt;" in told

    @pytest.mark.parametrize(
        ("value", "text"),
        [(0.0514, "+0.0514"), (-1.834, f"{MINUS}1.83"), (0.0, "0"), (1234.0, "+1,234")],
    )
    def test_differences_have_a_sign_and_three_digits(self, value, text):
        assert signed(value) == text


class TestSpread:
    def test_picture_says_what_it_shows(self):
        told = spread({"liver": np.array([0.5, 0.9, 0.7])}, "dice")
        assert "DSC of each case. liver: median 0.70, from 0.50 to 0.90 over 3 cases." in told

    def test_many_cases_do_not_make_the_page_heavy(self):
        few, many = (
            spread({"liver": np.random.default_rng(0).uniform(0.5, 1, count)}, "dice")
            for count in (80, 4000)
        )
        assert len(many) < 2 * len(few)
