"""All metrics of a split together, with intervals that mean what they say."""

import json
import time

import numpy as np
import pytest
from sklearn import metrics as oracle

from medistill.evaluation.judge import judge, labelled, rows
from medistill.evaluation.operating import fit_operating_point
from medistill.results import PredictionTable, read_predictions, write_predictions

BINARY = ("COVID", "NonCOVID")


def table(many=120, classes=BINARY, seed=0, groups=None):
    """Predictions that are honest: each target was drawn from its row of probabilities."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(len(classes)), many).astype(np.float32)
    drawn = generator.random((many, 1))
    targets = (probabilities.cumsum(axis=1)[:, :-1] < drawn).sum(axis=1)
    samples = tuple(str(row) for row in range(many))
    groups = np.full(many, -1) if groups is None else groups
    return PredictionTable("ct", "test", classes, samples, targets, probabilities, groups)


def value(estimates, name):
    return estimates[name]["value"]


class TestValues:
    def test_two_classes_are_judged_by_the_positive_one(self):
        one = table()
        found, positive, scores = judge(one, draws=0), one.targets == 0, one.probabilities[:, 0]
        assert value(found, "auroc") == pytest.approx(oracle.roc_auc_score(positive, scores))
        assert value(found, "average_precision") == pytest.approx(
            oracle.average_precision_score(positive, scores)
        )

    def test_several_classes_are_judged_one_against_the_rest(self):
        one = table(300, ("a", "b", "c"))
        found = judge(one, draws=0)
        probabilities = one.probabilities.astype(float)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        assert value(found, "auroc") == pytest.approx(
            oracle.roc_auc_score(one.targets, probabilities, multi_class="ovr"), abs=1e-6
        )
        assert value(found, "average_precision") == pytest.approx(
            oracle.average_precision_score(np.eye(3)[one.targets], probabilities), abs=1e-6
        )

    def test_every_metric_of_the_issue_is_there(self):
        one = table()
        assert set(judge(one, fit_operating_point(one, "COVID"), draws=0)) == {
            "accuracy",
            "balanced_accuracy",
            "macro_f1",
            "auroc",
            "average_precision",
            "sensitivity/COVID",
            "sensitivity/NonCOVID",
            "specificity/COVID",
            "specificity/NonCOVID",
            "sensitivity_at_threshold",
            "specificity_at_threshold",
            "expected_calibration_error",
            "negative_log_likelihood",
            "brier",
        }

    def test_the_threshold_keeps_its_promise_where_it_was_fitted(self):
        one = table()
        point = fit_operating_point(one, "COVID", sensitivity=0.9)
        found = judge(one, point, draws=0)
        assert value(found, "sensitivity_at_threshold") == pytest.approx(point.sensitivity)
        assert value(found, "specificity_at_threshold") == pytest.approx(point.specificity)

    def test_the_order_of_samples_is_nothing(self):
        one = table(60, ("a", "b", "c"))
        found = judge(rows(one, np.random.default_rng(1).permutation(60)), draws=0)
        for name, estimate in judge(one, draws=0).items():
            assert value(found, name) == pytest.approx(estimate["value"])

    def test_what_is_judged_is_what_is_written(self, tmp_path):
        write_predictions(tmp_path / "p.csv", [table()])
        assert judge(read_predictions(tmp_path / "p.csv")[0]) == judge(table())


class TestUndefined:
    def test_a_class_without_samples_has_no_sensitivity(self):
        one = table(50, ("a", "b", "c"))
        found = judge(rows(one, np.flatnonzero(one.targets != 1)))
        assert found["sensitivity/b"] == {"value": None, "low": None, "high": None}
        assert value(found, "specificity/b") is not None
        assert value(found, "auroc") is not None

    def test_one_class_alone_has_no_area(self):
        one = table()
        found = judge(rows(one, np.flatnonzero(one.targets == 0)))
        assert found["auroc"] == {"value": None, "low": None, "high": None}
        assert value(found, "accuracy") is not None

    def test_no_labelled_sample_gives_nothing_and_no_error(self):
        one = rows(table(), np.arange(0))
        found = judge(one, fit_operating_point(table(), "COVID"))
        assert all(estimate["value"] is None for estimate in found.values())

    def test_unlabelled_samples_are_left_out(self):
        one = table()
        one.targets[::2] = -1
        assert len(labelled(one)) == 60
        assert judge(one, draws=10) == judge(rows(one, np.arange(1, 120, 2)), draws=10)

    def test_every_answer_is_plain_json(self):
        one = table(8, ("a", "b", "c"))
        json.dumps(judge(one), allow_nan=False)


class TestIntervals:
    def test_hold_the_value(self):
        for name, estimate in judge(table(400)).items():
            # The bootstrap of a calibration error is biased upwards.
            if name != "expected_calibration_error":
                assert estimate["low"] < estimate["value"] < estimate["high"], name

    def test_are_the_same_for_the_same_seed(self):
        assert judge(table(), seed=3) == judge(table(), seed=3)
        assert judge(table(), seed=3) != judge(table(), seed=4)

    def test_widen_when_samples_share_patients(self):
        alone = table(60)
        copied = rows(alone, np.repeat(np.arange(60), 5))
        grouped = PredictionTable(
            "ct", "test", BINARY, copied.samples, copied.targets, copied.probabilities,
            np.repeat(np.arange(60), 5),
        )  # fmt: skip

        def width(one):
            estimate = judge(one)["accuracy"]
            return estimate["high"] - estimate["low"]

        assert width(grouped) == pytest.approx(width(alone), rel=0.15)
        assert width(copied) < 0.6 * width(grouped)

    def test_of_one_patient_are_unknown(self):
        estimate = judge(table(groups=np.zeros(120, int)))["accuracy"]
        assert estimate["value"] is not None
        assert (estimate["low"], estimate["high"]) == (None, None)

    def test_of_a_flawless_share_are_not_without_width(self):
        one = table(20)
        flawless = PredictionTable(
            "ct", "test", BINARY, one.samples, one.predicted, one.probabilities, one.groups
        )
        estimate = judge(flawless)["accuracy"]
        assert estimate["value"] == estimate["high"] == 1
        assert estimate["low"] == pytest.approx(0.8316, abs=1e-4)

    def test_of_a_flawless_class_count_its_own_samples(self):
        classes, targets = ("a", "b"), np.array([0] * 5 + [1] * 5)
        probabilities = np.where(targets[:, None] == [0, 1], 0.9, 0.1).astype(np.float32)
        probabilities[-1] = probabilities[0]
        one = PredictionTable(
            "t", "test", classes, ("s",) * 10, targets, probabilities, np.full(10, -1)
        )
        found = judge(one)
        assert found["sensitivity/a"]["low"] == pytest.approx(0.025 ** (1 / 5))
        assert found["sensitivity/b"]["low"] < 0.8 < found["sensitivity/b"]["high"]


def test_a_thousand_draws_take_seconds():
    one = table(5000, tuple("abcdefghij"))
    start = time.perf_counter()
    judge(one)
    # 3 s on one core when nothing else runs; the slack is for what does.
    assert time.perf_counter() - start < 30
