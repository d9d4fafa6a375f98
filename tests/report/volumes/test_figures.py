"""Spreads and agreement, as far as words tell them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.report.volumes import figures
from medistill.report.volumes.figures import Agreement, agreement, signed, spread
from medistill.report.wording import MINUS
from tests.report.sketching import rows, sketch


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


VALUES = st.lists(st.floats(-500, 500), min_size=2, max_size=20)


class TestLaws:
    @given(VALUES, st.floats(-100, 100))
    def test_a_shift_of_all_moves_the_bias_and_leaves_the_width(self, values, shift):
        means, found = np.ones(len(values)), np.array(values)
        one, other = Agreement(means, found), Agreement(means, found + shift)
        assert other.bias == pytest.approx(one.bias + shift, abs=1e-6)
        widths = [high - low for low, high in (one.limits, other.limits)]
        assert widths[0] == pytest.approx(widths[1], abs=1e-6)

    @given(VALUES)
    def test_bias_lies_in_the_middle_of_the_limits(self, values):
        found = Agreement(np.ones(len(values)), np.array(values))
        low, high = found.limits
        # Rounding may leave equal differences a hair of a width.
        assert low <= found.bias + 1e-9 <= high + 2e-9
        assert (low + high) / 2 == pytest.approx(found.bias, abs=1e-6)

    @given(st.floats(-1e6, 1e6))
    def test_sign_is_that_of_the_value(self, value):
        told = signed(value)
        number = float(told.replace(MINUS, "-").replace(",", ""))
        # A thousand and more loses what stands behind the point.
        assert number == pytest.approx(value, rel=0.0051)
        assert told == "0" or told[0] == ("+" if value > 0 else MINUS)


class TestDrawing:
    @pytest.fixture
    def axes(self, monkeypatch):
        return sketch(monkeypatch, figures)

    def test_every_case_is_a_dot_within_its_row(self, axes):
        found = {"liver": np.array([0.5, 0.9, 0.7]), "spleen": np.array([0.1])}
        spread(found, "dice")
        assert rows(axes[0]) == ["liver", "spleen"]
        clouds = [np.asarray(cloud.get_offsets()) for cloud in axes[0].collections]
        for row, (values, cloud) in enumerate(zip(found.values(), clouds, strict=True)):
            assert cloud[:, 0].tolist() == values.tolist()
            assert (np.abs(cloud[:, 1] - row) < 0.25).all()

    def test_of_many_cases_no_cloud_is_drawn(self, axes):
        spread({"liver": np.linspace(0, 1, 81)}, "dice")
        assert not axes[0].collections

    @pytest.mark.parametrize(("key", "label"), [("dice", "DSC"), ("hd95_mm", "HD95, mm")])
    def test_axis_has_a_unit_where_there_is_one_and_else_runs_from_0_to_1(self, axes, key, label):
        spread({"liver": np.array([0.4, 0.5])}, key)
        assert axes[0].get_xlabel() == label
        assert (axes[0].get_xlim() == (-0.02, 1.02)) == (key == "dice")

    def test_one_case_has_a_bias_and_no_limits(self, axes):
        told = agreement(Agreement(np.array([10.0]), np.array([2.0])), "liver")
        assert "bias +2.00 millilitres." in told
        heights = [line.get_ydata()[0] for line in axes[0].lines]
        assert heights == [0, 2, 2]  # zero, the bias, the case itself

    def test_lines_stand_at_the_bias_and_the_limits(self, axes):
        found = Agreement(np.array([10.0, 20.0]), np.array([-1.0, 3.0]))
        agreement(found, "x" * 40)
        heights = [line.get_ydata()[0] for line in axes[0].lines[:4]]
        assert heights == pytest.approx([0, 1, *found.limits])
        assert axes[0].get_title(loc="left").endswith("…")
