"""Judging segmentations: scores of a case, means over cases, classes, tasks and regions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.case_results import CaseResult, Score
from medistill.errors import UserError
from medistill.evaluation.selection import merit
from medistill.evaluation.volumes import judge_regions, judge_volumes, measure_case

CLASSES = ("anterior", "posterior")


def score(dice, hd95=1.0):
    return Score(dice, dice / 2, hd95, 3.0, 2.5)


def case(dices, *, task="hippocampus", group=-1, sample=""):
    """A case with these Dice values by class."""
    scores = {name: value if isinstance(value, Score) else score(value)
              for name, value in dices.items()}  # fmt: skip
    return CaseResult(task, "test", sample or str(dices), group, scores)


def cases(count=20, seed=0, groups=None):
    values = np.random.default_rng(seed).uniform(0.5, 1, (count, 2))
    return [
        case(dict(zip(CLASSES, row, strict=True)), group=-1 if groups is None else groups[place])
        for place, row in enumerate(values.tolist())
    ]


def value(found, key):
    return found[key]["value"]


class TestMeasureCase:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:3, 1:5, 1:5] = 1
    labels[3:5, 1:5, 1:5] = 2

    def test_scores_are_of_each_class_in_order(self):
        found = np.where(self.labels == 2, 0, self.labels).astype(np.uint8)
        scores = measure_case(found, self.labels, CLASSES, (1.0, 1.0, 1.0))
        assert list(scores) == list(CLASSES)
        assert scores["anterior"] == Score(1.0, 1.0, 0.0, 0.032, 0.032)
        assert scores["posterior"] == Score(0.0, 0.0, None, 0.032, 0.0)

    def test_volume_counts_millimetres(self):
        scores = measure_case(self.labels, self.labels, CLASSES, (2.0, 2.5, 4.0))
        assert scores["anterior"].truth_ml == pytest.approx(32 * 20 / 1000)

    def test_overlapping_masks_say_what_a_label_map_says(self):
        masks = np.stack([self.labels == 1, self.labels == 2]).astype(np.uint8)
        shifted = np.roll(self.labels, 1, axis=1)
        spacing = (1.0, 1.0, 3.0)
        assert measure_case(shifted, masks, CLASSES, spacing) == measure_case(
            shifted, self.labels, CLASSES, spacing
        )

    def test_without_surfaces_overlap_and_volume_remain(self):
        scores = measure_case(self.labels, self.labels, CLASSES, (1.0, 1.0, 1.0), surfaces=False)
        judged = judge_volumes([case(scores)], CLASSES, draws=0)
        assert value(judged, "dice") == 1
        assert value(judged, "surface_dice") is value(judged, "hd95_mm") is None

    def test_another_grid_is_refused(self):
        with pytest.raises(UserError, match=r"5 x 6 x 6 voxels .* truth of 6 x 6 x 6"):
            measure_case(self.labels[1:], self.labels, CLASSES, (1.0, 1.0, 1.0))


class TestMeans:
    def test_classes_count_alike_however_many_cases_show_them(self):
        found = [case({"anterior": 0.8, "posterior": 0.2})]
        found += [case({"anterior": 0.6})] * 3
        judged = judge_volumes(found, CLASSES, draws=0)
        assert value(judged, "dice/anterior") == pytest.approx(0.65)
        assert value(judged, "dice/posterior") == pytest.approx(0.2)
        assert value(judged, "dice") == pytest.approx((0.65 + 0.2) / 2)
        assert value(judged, "surface_dice") == pytest.approx((0.65 + 0.2) / 4)

    def test_metrics_are_named_as_those_of_classifications_are(self):
        judged = judge_volumes(cases(), CLASSES, draws=0)
        whole = ["dice", "surface_dice", "hd95_mm"]
        assert list(judged) == whole + [f"{m}/{name}" for m in whole for name in CLASSES]

    def test_distance_is_over_the_cases_that_have_one(self):
        found = [case({"anterior": score(0.0, None)}), case({"anterior": score(0.5, 4.0)})]
        judged = judge_volumes(found, ("anterior",), draws=0)
        assert value(judged, "hd95_mm") == 4
        assert value(judged, "dice") == 0.25

    def test_class_that_nobody_annotated_is_undefined(self):
        judged = judge_volumes([case({"anterior": 0.5})], CLASSES, draws=10)
        assert judged["dice/posterior"] == {"value": None, "low": None, "high": None}
        assert value(judged, "dice") == 0.5

    @given(st.permutations(range(8)))
    @settings(max_examples=10)
    def test_order_of_cases_is_nothing(self, order):
        found = cases(8)
        shuffled = [found[place] for place in order]
        assert value(judge_volumes(shuffled, CLASSES, draws=0), "dice") == pytest.approx(
            value(judge_volumes(found, CLASSES, draws=0), "dice")
        )


class TestIntervals:
    def test_interval_of_one_class_is_that_of_a_mean(self):
        judged = judge_volumes(cases(50), CLASSES)
        values = np.array([c.scores["anterior"].dice for c in cases(50)])
        error = values.std() / np.sqrt(50)
        # The middle 95 % of a thousand draws: a normal interval within some tenth of its width.
        low, high = (judged["dice/anterior"][end] for end in ("low", "high"))
        assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.4 * error)
        assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.4 * error)

    def test_scans_of_one_patient_are_drawn_together(self):
        twice = [c for pair in zip(cases(12), cases(12), strict=True) for c in pair]
        patients = np.repeat(np.arange(12), 2).tolist()
        known = [CaseResult(c.task, c.split, c.sample, g, c.scores)
                 for c, g in zip(twice, patients, strict=True)]  # fmt: skip
        wide, narrow = judge_volumes(known, CLASSES)["dice"], judge_volumes(twice, CLASSES)["dice"]
        assert wide["high"] - wide["low"] > 1.2 * (narrow["high"] - narrow["low"])

    def test_one_patient_alone_has_no_interval(self):
        judged = judge_volumes(cases(4, groups=[0] * 4), CLASSES)
        assert judged["dice"]["value"] is not None
        assert judged["dice"]["low"] is None

    def test_equal_seeds_give_equal_intervals(self):
        assert judge_volumes(cases(), CLASSES, seed=3) == judge_volumes(cases(), CLASSES, seed=3)


class TestRegions:
    found = (
        case({"liver": 0.9, "spleen": 0.5}, task="mr"),
        case({"liver": 0.7}, task="ct", sample="a"),
        case({"liver": 0.5}, task="ct", sample="b"),
        case({"hippocampus": 0.2}, task="brain"),
    )
    regions = {"mr": "abdomen", "ct": "abdomen", "brain": "brain"}  # noqa: RUF012

    def test_mean_goes_from_tasks_to_labels_to_regions(self):
        judged = judge_regions(self.found, self.regions, draws=0)
        liver = (0.9 + (0.7 + 0.5) / 2) / 2
        assert value(judged["abdomen"], "dice") == pytest.approx((liver + 0.5) / 2)
        assert value(judged["brain"], "dice") == pytest.approx(0.2)
        assert value(judged["all"], "dice") == pytest.approx(((liver + 0.5) / 2 + 0.2) / 2)

    def test_region_of_one_task_is_judged_as_the_task(self):
        judged = judge_regions(cases(), {"hippocampus": "brain"})
        own = judge_volumes(cases(), CLASSES)
        assert judged["brain"]["dice"] == pytest.approx(own["dice"])
        assert judged["all"] == judged["brain"]

    def test_an_organ_in_ct_and_in_mr_are_two_labels_of_one_region(self):
        found = [
            replace(case({"liver": dice}, task=task), modality=modality)
            for task, modality, dice in [
                ("a", "ct", 0.9),
                ("a", "mr", 0.5),
                ("b", "ct", 0.7),
                ("c", "mr", 0.1),
            ]
        ]
        judged = judge_regions(found, dict.fromkeys("abc", "abdomen"), draws=0)
        assert value(judged["abdomen"], "dice") == pytest.approx(((0.9 + 0.7) + (0.5 + 0.1)) / 4)
        lopsided = judge_regions(found[:3], dict.fromkeys("ab", "abdomen"), draws=0)
        assert value(lopsided["abdomen"], "dice") == pytest.approx(((0.9 + 0.7) / 2 + 0.5) / 2)

    def test_data_sets_that_a_list_joins_count_alike_as_tasks_do(self):
        joined = [
            replace(case({"liver": dice}, sample=str(dice)), dataset=name, group=place)
            for place, (name, dice) in enumerate([("a", 0.9), ("a", 0.7), ("a", 0.8), ("b", 0.2)])
        ]
        judged = judge_regions(joined, {"hippocampus": "abdomen"}, draws=50)
        assert value(judged["abdomen"], "dice") == pytest.approx((0.8 + 0.2) / 2)
        assert value(judged["all"], "dice") == pytest.approx((0.8 + 0.2) / 2)
        # One patient of `b` leaves an interval: draws are of the task's patients.
        low, high = judged["abdomen"]["dice"]["low"], judged["abdomen"]["dice"]["high"]
        assert low < 0.5 < high

    def test_one_task_without_an_interval_leaves_the_mean_without(self):
        judged = judge_regions(self.found, self.regions)
        assert judged["abdomen"]["dice"]["low"] is None


class TestSelection:
    def test_larger_overlap_and_smaller_distance_are_better(self):
        good = judge_volumes([case({"anterior": score(0.9, 1.0)})], ("anterior",), draws=0)
        poor = judge_volumes([case({"anterior": score(0.4, 9.0)})], ("anterior",), draws=0)
        for metric in ("dice", "surface_dice", "hd95_mm", "hd95_mm/anterior"):
            assert merit(good, metric) > merit(poor, metric), metric

    def test_name_of_no_metric_is_known_before_the_training(self):
        blank = judge_volumes([case({"anterior": score(0.0, None)})], ("anterior",), draws=0)
        assert merit(blank, "dice") == 0
        with pytest.raises(UserError, match="Did you mean 'dice'"):
            merit(blank, "dcie")
