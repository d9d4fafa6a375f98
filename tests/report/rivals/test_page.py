"""The page of a comparison: whole, self-contained, honest about noise, and harmless."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from medistill.report.rivals.account import Account
from medistill.report.rivals.budget import Budget, best_within, points
from medistill.report.rivals.conclusions import overall, verdict
from medistill.report.rivals.page import page
from tests.report.reading import Reader, read

from .accounts import (
    EVIL,
    LARGE,
    account,
    against,
    ranking,
    row,
    six_blocks,
    spread,
    standing,
    three_sizes,
)

GOLDEN = Path(__file__).with_name("golden_page.txt")
NO_BOUND = Budget()
KINDS = [account, six_blocks, three_sizes]


def page_of(found: Account, budget: Budget = NO_BOUND) -> Reader:
    return read(page(found, budget))


@cache
def drawn(make: Callable[[], Account]) -> str:
    """A page with a budget, drawn once: its figures take most of a test's time."""
    return page(make(), Budget(10.0, 5.0))


@pytest.mark.parametrize("make", KINDS)
def test_every_page_is_well_formed_and_needs_nothing_beside_it(make: Callable[[], Account]) -> None:
    text = drawn(make)
    found = read(text)
    assert not found.unbalanced
    assert not found.open
    assert not {"link", "script", "iframe", "object", "img"} & {tag for tag, _ in found.tags}
    assert "http" not in text.replace("http-equiv", "")
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in found.all("svg"))


def test_the_page_of_one_block_says_what_it_said() -> None:
    # Another text is a decision, seen in review: `read(page(account(), Budget())).text` is the new.
    assert page_of(account()).text == GOLDEN.read_text(encoding="utf-8")


def test_what_a_recipe_calls_things_is_no_markup() -> None:
    text = page(account(standing(EVIL), absent=((EVIL, EVIL),), recipe=EVIL), NO_BOUND)
    assert "<script" not in text


class TestConclusions:
    def test_name_the_leader_and_call_noise_noise(self) -> None:
        lead, gain = overall(account())
        assert lead.startswith("On covid_ct · vit to shufflenet RD leads with 69.0 ± 1.5 %: ")
        assert "ahead of hint" in lead
        assert "its lead over lora+kd, KD, rd-without-cka and student alone is noise" in lead
        assert gain == (
            "Against the student alone it has +4.0 points, which is more than noise (p = 0.03)."
        )

    def test_of_many_blocks_count(self) -> None:
        leads, better = overall(six_blocks())
        assert leads == "The highest mean is that of RD in 6 of 6 blocks."
        assert better == "Certainly better than the student alone: RD in 6."

    def test_where_nothing_beats_the_student_alone_say_so(self) -> None:
        rows = (
            row("student_alone", 0.7),
            row("hint", 0.6, best=against("student alone", -0.1, 1.0)),
        )
        found = overall(account(standing(rows=rows)))
        assert found[-1] == "No method has a higher mean than the student alone."

    @pytest.mark.parametrize(
        ("metric", "value", "p", "said"),
        [
            ("accuracy", 0.1, 0.01, "better"), ("accuracy", -0.1, 0.01, "worse"),
            ("accuracy", 0.1, 0.05, "noise"), ("brier", 0.1, 0.01, "worse"),
        ],
    )  # fmt: skip
    def test_a_difference_is_better_worse_or_noise(
        self, metric: str, value: float, p: float, said: str
    ) -> None:
        assert verdict(metric, against("RD", value, p)) == said

    def test_what_was_not_tested_is_not_judged(self) -> None:
        untested = replace(against("RD", 0.1, 0.0), p=None, corrected=None)
        assert verdict("accuracy", untested) == "not judged"


class TestSections:
    def test_of_many_blocks_are_folded_and_ranked(self) -> None:
        found = read(drawn(six_blocks))
        assert "Average ranks over 6 blocks, from scratch" in found.text
        assert "Not run in every block: lora+kd." in found.text
        assert any("RD 1.20" in str(svg["aria-label"]) for svg in found.all("svg"))

    def test_of_few_blocks_tell_no_ranks_apart(self) -> None:
        found = page_of(account(standing(), standing("busi"), rankings={"x": ranking(None)}))
        assert "With fewer than 5 blocks no ranks are told apart." in found.text

    def test_of_one_block_say_nothing_about_several(self) -> None:
        assert "Across blocks" not in read(drawn(account)).text

    def test_of_sizes_stand_where_there_are_several(self) -> None:
        assert "Few images, many images" in read(drawn(three_sizes)).text
        assert "Few images, many images" not in read(drawn(account)).text

    def test_of_what_is_missing_stand_at_the_top(self) -> None:
        found = page_of(
            account(absent=(("isic", "it is not here"),), failed=(("rd--0", "killed"),))
        )
        assert "Left out: 1\nisic: it is not here" in found.text
        assert "Runs that failed: 1\nrd--0: killed" in found.text


class TestBudget:
    def test_the_best_within_is_chosen_on_validation(self) -> None:
        large = standing(student="resnet18", shift=0.05)
        rows = tuple(replace(row, cost=LARGE) for row in large.rows)
        found = account(standing(), replace(large, rows=rows))
        (small,) = best_within(found, Budget(megabytes=10)).values()
        assert small is not None
        assert (small[0].student, small[1].label) == ("shufflenet", "RD")
        said = page_of(found, Budget(megabytes=10, milliseconds=5)).text
        assert "The best within 10 MB and 5 ms:" in said
        assert "covid_ct: shufflenet by RD, 5.15 MB, 2.91 ms; chosen on validation" in said

    def test_nothing_within_is_said(self) -> None:
        said = page_of(account(), Budget(milliseconds=0.1)).text
        assert "The best within 0.1 ms:\ncovid_ct: none stays within it." in said

    def test_a_network_whose_cost_nobody_measured_is_not_within(self) -> None:
        rows = tuple(replace(row, cost={}) for row in standing().rows)
        assert best_within(account(standing(rows=rows)), Budget(10)) == {"covid_ct": None}

    def test_the_front_is_what_nothing_beats_in_both(self) -> None:
        front = [p for p in points(account(), "covid_ct", "latency_ms_p50") if p.front]
        assert [(p.name, p.cost) for p in front] == [("lora", 101.0), ("RD", 2.91)]


class TestSeeds:
    def test_that_vary_are_counted(self) -> None:
        assert "count other images and other seeds; p is" in page_of(account()).text

    def test_of_one_nobody_knows_what_another_changes(self) -> None:
        rows = tuple(replace(r, metrics={"accuracy": spread(0.6, None)}) for r in standing().rows)
        said = page_of(account(standing(rows=rows), seeds=(0,))).text
        assert "count other images alone: with one seed nobody knows what another changes" in said
        assert "and other seeds" not in said

    def test_that_are_missing_are_told_wherever_a_row_stands(self) -> None:
        rows = tuple(
            replace(r, metrics={"accuracy": spread(0.69, None)}) if r.label == "RD" else r
            for r in standing().rows
        )
        said = page_of(account(standing(rows=rows))).text
        assert "of a row with one seed other images alone" in said
        assert "Where seeds are missing, differences are over those that both have." in said
        assert "RD 69.0 65.0 to 73.0 (1 of 3 seeds)" in said
        assert "teacher (probe) 75.9 71.9 to 79.9 " in said
