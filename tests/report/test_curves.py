"""What the figures show, against values that a reader can check by hand."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from medistill.report.curves import confusion, operating_point, reliability, roc
from medistill.results import PredictionTable

from . import folders


def two(scores: list[float], targets: list[int]) -> PredictionTable:
    """Predictions whose second class has these scores."""
    second = np.array(scores, np.float32)
    return PredictionTable(
        "t", "test", ("no", "yes"), tuple(map(str, range(len(scores)))),
        np.array(targets, np.int64), np.stack([1 - second, second], 1),
        np.full(len(scores), -1),
    )  # fmt: skip


class TestRoc:
    def test_perfect_order_is_the_corner(self) -> None:
        curve = roc(two([0.9, 0.8, 0.2], [1, 1, 0]), 1, "x")
        assert curve is not None
        assert curve.area == 1
        assert curve.alarms.tolist() == [0, 0, 0, 1]

    def test_equal_scores_are_one_step(self) -> None:
        curve = roc(two([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0]), 1, "x")
        assert curve is not None
        assert (curve.alarms.tolist(), curve.hits.tolist()) == ([0, 1], [0, 1])
        assert curve.area == 0.5

    def test_equals_an_independent_implementation(self) -> None:
        table = folders.table(folders.BLOOD, 300)
        curve = roc(table, 2, "x")
        assert curve is not None
        truth, scores = table.targets == 2, table.probabilities[:, 2]
        alarms, hits, _ = roc_curve(truth, scores, drop_intermediate=False)
        np.testing.assert_allclose(curve.alarms, alarms)
        np.testing.assert_allclose(curve.hits, hits)
        assert curve.area == pytest.approx(roc_auc_score(truth, scores))

    def test_one_class_alone_has_no_curve(self) -> None:
        assert roc(two([0.5, 0.2], [1, 1]), 1, "x") is None
        assert operating_point(two([0.5, 0.2], [1, 1]), 1, 0.3) is None


def test_operating_point_counts_what_reaches_the_threshold() -> None:
    table = two([0.9, 0.5, 0.4, 0.5, 0.1], [1, 1, 1, 0, 0])
    assert operating_point(table, 1, 0.5) == (0.5, pytest.approx(2 / 3))


class TestReliability:
    def test_bins_say_what_came_true(self) -> None:
        stated = np.array([0.05, 0.15, 0.18, 0.95, 0.95])
        bins = reliability(stated, np.array([False, True, False, True, True]))
        assert [b.count for b in bins] == [1, 2, 2]
        assert [b.share for b in bins] == [0, 0.5, 1]
        assert bins[1].stated == pytest.approx(0.165)

    def test_interval_holds_the_share_and_narrows_with_more_samples(self) -> None:
        few, many = (
            reliability(np.full(n, 0.7), np.arange(n) % 2 == 0)[0] for n in (10, 1000)
        )  # fmt: skip
        # Wilson's interval for 5 of 10, from any table.
        assert (few.low, few.high) == (
            pytest.approx(0.2366, abs=1e-4),
            pytest.approx(0.7634, abs=1e-4),
        )
        assert few.low < many.low < many.share < many.high < few.high

    def test_ends_of_the_scale_are_inside(self) -> None:
        bins = reliability(np.array([0.0, 1.0]), np.array([False, True]))
        assert [b.count for b in bins] == [1, 1]
        assert all(0 <= b.low <= b.share <= b.high <= 1 for b in bins)


def test_confusion_equals_an_independent_implementation() -> None:
    table = folders.table(folders.BLOOD, 300)
    wanted = confusion_matrix(table.targets, table.predicted, labels=range(4))
    np.testing.assert_array_equal(confusion(table), wanted)
