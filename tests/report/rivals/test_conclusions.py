"""Sentences about who wins: none of them says more than the numbers do."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.report.rivals.account import Against, Row
from medistill.report.rivals.conclusions import (
    FEW,
    chance,
    difference,
    leading,
    overall,
    verdict,
)
from medistill.report.wording import MINUS, UNDEFINED

from .accounts import account, against, row, spread, standing

OPPOSITE = {"better": "worse", "worse": "better", "noise": "noise"}
VALUES = st.floats(-1, 1).filter(bool)


@given(VALUES, st.floats(0, 1), st.sampled_from(["accuracy", "brier", "dice", "hd95_mm"]))
def test_what_is_better_is_worse_seen_from_the_other(value: float, p: float, name: str) -> None:
    seen, turned = (verdict(name, against("RD", side * value, p)) for side in (1, -1))
    assert turned == OPPOSITE[seen]


def test_without_a_rival_there_is_a_dash() -> None:
    assert [verdict("auroc", None), difference("auroc", None), chance(None)] == [UNDEFINED] * 3


class TestDifference:
    def test_it_has_no_unit_and_a_sign_on_every_number(self) -> None:
        found = Against("RD", 0.0184, -0.0216, 0.0584, 0.1, 0.3)
        assert difference("accuracy", found) == f"+1.8 ({MINUS}2.2 to +5.8)"
        assert difference("auroc", found) == f"+0.018 ({MINUS}0.022 to +0.058)"

    def test_without_an_interval_it_stands_alone(self) -> None:
        assert difference("accuracy", Against("RD", 0.0184, None, None, None, None)) == "+1.8"


class TestLeading:
    def test_of_nothing_that_was_measured_nothing_is_said(self) -> None:
        blank = tuple(replace(found, metrics={}) for found in standing().rows)
        assert leading(account(), standing(rows=blank)) == []
        assert leading(account(), standing(rows=())) == []

    def test_metric_without_a_unit_has_none(self) -> None:
        lead, *_ = leading(account(metric="auroc"), standing())
        assert "RD leads with 0.770 ± 0.015: " in lead

    def test_one_seed_has_no_deviation(self) -> None:
        alone = replace(row("hint", 0.6), metrics={"accuracy": spread(0.6, None)})
        assert leading(account(seeds=(0,)), standing(rows=(alone,))) == [
            "On covid_ct · vit to shufflenet hint leads with 60.0 %."
        ]

    def test_seeds_that_are_missing_are_told(self) -> None:
        alone = replace(row("hint", 0.6), metrics={"accuracy": spread(0.6, None)})
        (lead,) = leading(account(), standing(rows=(alone,)))
        assert lead.endswith("hint leads with 60.0 % (1 of 3 seeds).")

    def test_nobody_is_behind_a_leader_of_lower_means(self) -> None:
        # Over the seeds that both have, who lacks some may lie ahead of a leader of all seeds.
        rows = (
            row("reprogramming_distillation", 0.7),
            row("hint", 0.8, best=against("RD", 0.1, 0.001)),
        )
        (lead,) = leading(account(), standing(rows=rows))
        assert "ahead of" not in lead

    def test_what_was_not_tested_is_neither_ahead_nor_noise(self) -> None:
        untested = replace(against("RD", -0.1, 0.0), corrected=None)
        rows = (
            row("reprogramming_distillation", 0.7, alone=untested),
            row("hint", 0.6, best=untested),
        )
        (lead,) = leading(account(), standing(rows=rows))
        assert lead.endswith("RD leads with 70.0 ± 1.5 %.")

    def test_tiny_p_is_below_a_bound_and_not_equal_to_it(self) -> None:
        sure = row("hint", 0.9, alone=against("student alone", 0.2, 0.0002))
        *_, gain = leading(account(), standing(rows=(sure,)))
        assert gain == (
            "Against the student alone it has +20.0 points, which is more than noise (p < 0.001)."
        )

    def test_gain_by_chance_is_called_that(self) -> None:
        lucky = row("hint", 0.9, alone=against("student alone", 0.2, 0.3))
        *_, gain = leading(account(), standing(rows=(lucky,)))
        assert gain.endswith("it has +20.0 points, which is noise (p = 0.30).")


class TestOverall:
    def blocks(self, *leaders: Row) -> list[str]:
        alone = row("student_alone", 0.5)
        return overall(account(*(standing(rows=(leader, alone)) for leader in leaders)))

    def test_few_blocks_are_told_one_by_one(self) -> None:
        said = self.blocks(*[row("hint", 0.6)] * FEW)
        assert [sentence.startswith("On covid_ct") for sentence in said] == [True] * FEW

    def test_leaders_of_many_are_counted_the_most_frequent_first(self) -> None:
        said, *_ = self.blocks(*[row("hint", 0.6)] * 2, *[row("logit_distillation", 0.6)] * 3)
        assert said == "The highest mean is that of KD in 3 and hint in 2 of 5 blocks."

    def test_equals_lead_together(self) -> None:
        level = sum([0.66, 0.63, 0.51]) / 3, sum([0.51, 0.63, 0.66]) / 3
        assert level[0] != level[1], "the order of the sum must matter"
        blocks = [standing(rows=(row("hint", level[0]), row("logit_distillation", level[1])))] * (
            FEW + 1
        )
        assert overall(account(*blocks))[0] == (
            "The highest mean is that of hint in 5 and KD in 5 of 5 blocks."
        )

    def test_what_is_certainly_worse_is_not_left_out(self) -> None:
        worse = row("hint", 0.6, alone=against("student alone", -0.1, 0.01))
        better = row("logit_distillation", 0.6, alone=against("student alone", 0.1, 0.01))
        *_, won, lost = self.blocks(*[worse] * 3, *[better] * 2)
        assert won == "Certainly better than the student alone: KD in 2."
        assert lost == "Certainly worse: hint in 3."

    def test_where_all_is_noise_no_method_is_better(self) -> None:
        noise = row("hint", 0.6, alone=against("student alone", 0.1, 0.5))
        assert self.blocks(*[noise] * 5)[1:] == [
            "No method is certainly better than the student alone in any block."
        ]

    def test_blocks_without_a_student_do_not_count(self) -> None:
        tuned = standing(rows=(row("lora", 0.8),))
        assert overall(account(tuned)) == []

    def test_sets_taken_together_come_first(self) -> None:
        together = standing("2 sets", transfer=True)
        said = overall(account(standing(), transfers=(together,)))
        assert said[0].startswith("On 2 sets")
        assert any(sentence.startswith("On covid_ct") for sentence in said[1:])


@pytest.mark.parametrize("p", [0.0004, 0.02, 0.3])
def test_page_and_sentence_give_the_same_p(p: float) -> None:
    told = chance(against("RD", 0.1, p))
    *_, gain = leading(
        account(), standing(rows=(row("hint", 0.9, alone=against("student alone", 0.1, p)),))
    )
    assert told in gain
