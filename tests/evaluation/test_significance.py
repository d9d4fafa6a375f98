"""Two networks are compared on the same samples, in whatever order they stand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.errors import UserError
from medistill.evaluation.judge import judge, rows
from medistill.evaluation.significance import holm, paired, paired_differences
from medistill.results import PredictionTable


def table(right, samples=None, groups=None, classes=("a", "b")):
    """Predictions that are right or wrong as told."""
    right = np.asarray(right, bool)
    targets = np.arange(len(right)) % 2
    called = np.where(right, targets, 1 - targets)
    probabilities = np.where(called[:, None] == [0, 1], 0.8, 0.2).astype(np.float32)
    samples = samples or tuple(f"s{row // 2 * 2}" for row in range(len(right)))
    groups = np.full(len(right), -1) if groups is None else groups
    return PredictionTable("ct", "test", classes, samples, targets, probabilities, groups)


def pair(many=200):
    generator = np.random.default_rng(0)
    return table(generator.random(many) < 0.9), table(generator.random(many) < 0.7)


class TestDifferences:
    def test_are_those_of_the_values(self):
        one, other = pair()
        found = paired_differences(one, other, draws=50)
        for name, difference in found.items():
            values = [judge(each, draws=0)[name]["value"] for each in (one, other)]
            assert difference.value == pytest.approx(values[0] - values[1])

    def test_of_a_network_to_itself_are_nothing(self):
        one, _ = pair()
        difference = paired_differences(one, one, draws=50)["accuracy"]
        assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)

    def test_tell_a_clear_lead_from_none(self):
        one, other = pair()
        difference = paired_differences(one, other)["accuracy"]
        assert 0 < difference.low < difference.value < difference.high
        assert difference.p == pytest.approx(2 / 1001)

    def test_turn_their_sign_with_the_order(self):
        one, other = pair()
        there, back = (
            paired_differences(*both, draws=99)["accuracy"] for both in ((one, other), (other, one))
        )
        assert (there.low, there.high, there.p) == pytest.approx((-back.high, -back.low, back.p))

    def test_are_narrower_than_unpaired_ones_when_errors_are_shared(self):
        one, _ = pair()
        worse = table((one.predicted == one.targets) & (np.arange(200) % 20 > 0))
        difference = paired_differences(one, worse)["accuracy"]
        alone = judge(one)["accuracy"]
        assert difference.high - difference.low < 0.8 * (alone["high"] - alone["low"])

    def test_draw_patients_where_they_are_known(self):
        one, other = pair()
        grouped = table(one.predicted == one.targets, groups=np.zeros(200, int))
        difference = paired_differences(grouped, other)["accuracy"]
        assert difference.value is not None and difference.low is None and difference.p is None


class TestPairing:
    def test_finds_each_sample_again(self):
        one, other = pair(20)
        shuffled = rows(other, np.random.default_rng(1).permutation(20))
        first, second = paired(one, shuffled)
        assert first.samples == second.samples
        np.testing.assert_array_equal(first.targets, second.targets)
        np.testing.assert_array_equal(second.probabilities, other.probabilities)

    def test_tells_identical_images_apart_by_their_order(self):
        one = table([1, 0, 1, 0], samples=("same",) * 4)
        first, second = paired(one, one)
        np.testing.assert_array_equal(first.predicted, second.predicted)

    def test_refuses_other_samples(self):
        one, _ = pair(20)
        with pytest.raises(UserError, match="share 10 of 20 and 10 test samples"):
            paired(one, rows(one, np.arange(10)))

    def test_refuses_other_classes(self):
        one, _ = pair(20)
        with pytest.raises(UserError, match="classes a, b against c, d"):
            paired(one, table(np.ones(20), classes=("c", "d")))


@given(st.dictionaries(st.text(max_size=2), st.floats(0, 1), max_size=6))
def test_holms_correction_is_the_written_out_one(chances: dict[str, float]) -> None:
    found = holm(chances)
    ordered = sorted(chances, key=lambda name: chances[name])
    for place, name in enumerate(ordered):
        steps = [
            (len(ordered) - i) * chances[other] for i, other in enumerate(ordered[: place + 1])
        ]
        assert found[name] == min(1.0, max(steps))


def test_holms_correction_by_hand() -> None:
    found = holm({"a": 0.04, "b": 0.01, "c": 0.03})
    assert found == pytest.approx({"b": 0.03, "c": 0.06, "a": 0.06})
