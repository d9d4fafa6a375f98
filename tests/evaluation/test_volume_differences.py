"""Two segmentation networks on the same volumes."""

from dataclasses import replace

import numpy as np
import pytest

from medistill.case_results import CaseResult, Score
from medistill.errors import UserError
from medistill.evaluation.volume_differences import like, paired_case_differences, repeated_cases
from medistill.evaluation.volumes import judge_volumes


def cases(count=30, shift=0.0, noise=0):
    """The same volumes, outlined better or worse."""
    facts, mind = np.random.default_rng(0), np.random.default_rng(noise)
    values = facts.uniform(0.5, 0.8, count) + shift + 0.02 * mind.normal(size=count)
    return [
        CaseResult("brain", "test", f"{place:04x}", place, {"a": Score(dice, dice, 1.0, 2.0, 2.0)})
        for place, dice in enumerate(values.tolist())
    ]


class TestPaired:
    def test_small_steady_gain_stands_out_of_large_differences_between_cases(self):
        better, worse = cases(shift=0.03, noise=1), cases()
        found = paired_case_differences(better, worse)["dice"]
        assert 0 < found.low < found.value < found.high
        alone = judge_volumes(better, ["a"])["dice"]
        assert found.high - found.low < (alone["high"] - alone["low"]) / 2

    def test_order_of_the_second_is_nothing(self):
        one, other = cases(), cases(shift=0.1)
        assert paired_case_differences(one, other[::-1]) == paired_case_differences(one, other)

    def test_network_does_not_differ_from_itself(self):
        found = paired_case_differences(cases(), cases())["dice"]
        assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)

    def test_other_volumes_do_not_compare(self):
        with pytest.raises(UserError, match="share 29 of 30 and 29 volumes"):
            paired_case_differences(cases(), cases()[1:])

    def test_identical_volumes_are_told_apart_by_their_order(self):
        twice = [replace(case, sample="same") for case in cases(4)]
        assert like(twice, twice) == twice


class TestRepeated:
    def test_mean_is_over_the_seeds(self):
        by_seed = {seed: cases(shift=shift) for seed, shift in ((0, 0.0), (1, 0.1))}
        found = repeated_cases(by_seed, cases())["dice"]
        means = [judge_volumes(one, ["a"], draws=0)["dice"]["value"] for one in by_seed.values()]
        assert found.mean == pytest.approx(np.mean(means))
        assert found.seeds == (0, 1)
        assert found.images == 30

    def test_gain_shared_by_all_seeds_is_told_from_noise(self):
        plain = repeated_cases({s: cases(noise=s) for s in range(3)}, cases())["dice"]
        better = repeated_cases({s: cases(shift=0.05, noise=9 + s) for s in range(3)}, cases())
        assert (better["dice"] - plain).tested().p < 0.05
