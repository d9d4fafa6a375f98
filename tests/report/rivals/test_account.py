"""What a comparison found, and what may be asked of it."""

from dataclasses import replace

import pytest

from medistill.report.rivals.account import LEVEL, Account

from .accounts import account, against, row, standing, three_sizes


@pytest.mark.parametrize(
    ("corrected", "noise"), [(0.049, False), (LEVEL, True), (1.0, True), (0.0, False), (None, None)]
)
def test_noise_begins_at_the_level_and_is_unknown_without_a_test(
    corrected: float | None, noise: bool | None
) -> None:
    assert replace(against("RD", 0.1, 0.5), corrected=corrected).noise is noise


class TestBlocks:
    def test_foundation_models_do_not_compete(self) -> None:
        one = standing()
        apart = {row.entry for row in one.rows} - {row.entry for row in one.students}
        assert apart == {"lora"}

    def test_entry_that_did_not_run_has_no_row(self) -> None:
        assert standing().row("hint") is not None
        assert standing().row("crd") is None

    def test_whole_ones_are_those_of_the_largest_share_that_was_asked(self) -> None:
        assert [one.fraction for one in three_sizes().whole] == [1.0]
        part = account(standing(fraction=0.1), standing(fraction=0.5))
        assert [one.fraction for one in part.whole] == [0.5]

    def test_of_no_block_there_is_no_whole_and_no_row(self) -> None:
        nothing = replace(account(), standings=())
        assert nothing.whole == ()
        assert list(nothing.rows()) == []


class TestRivals:
    def told(self, found: Account) -> list[str]:
        return list(found.rivals(found.standings[0]))

    def test_they_are_the_best_and_the_student_alone(self) -> None:
        assert self.told(account()) == ["RD", "the student alone"]

    def test_where_the_reference_leads_it_is_the_only_one(self) -> None:
        assert self.told(replace(account(), reference="reprogramming_distillation")) == ["RD"]

    def test_student_alone_that_leads_is_no_rival_of_itself(self) -> None:
        rows = (row("student_alone", 0.9), row("hint", 0.6))
        assert self.told(account(standing(rows=rows))) == ["the student alone"]

    def test_another_reference_goes_by_its_label(self) -> None:
        assert self.told(replace(account(), reference="hint")) == ["RD", "hint"]

    def test_where_no_student_ran_the_reference_is_left(self) -> None:
        tuned = tuple(found for found in standing().rows if not found.student)
        assert self.told(account(standing(rows=tuned))) == ["the student alone"]

    def test_each_finds_its_own_difference_in_a_row(self) -> None:
        found = row("hint", 0.6, best=against("RD", -0.1, 1.0), alone=against("x", -0.05, 1.0))
        best, alone = (of(found) for of in account().rivals(standing()).values())
        assert best is found.best
        assert alone is found.alone
