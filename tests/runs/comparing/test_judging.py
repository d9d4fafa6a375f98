"""From runs to conclusions: order, differences, ranks, and what is missing."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.evaluation.repeats import Repeated
from medistill.evaluation.significance import Difference
from medistill.results import write_json
from medistill.runs.comparing import judging
from medistill.runs.comparing.grid import Grid, wanted
from medistill.runs.comparing.judging import FEWEST_BLOCKS, FROM_SCRATCH, Verdicts, leader

from .made import IMAGES, estimate, grid, leave_all, leave_run

RD, KD, ALONE = "reprogramming_distillation", "logit_distillation", "student_alone"


def verdicts(
    found: Grid, wrong: Mapping[str, int], metric: str = "accuracy", failed: tuple[str, ...] = ()
) -> Verdicts:
    return Verdicts(found, leave_all(found, wrong, failed), metric, 20)


def sets(count: int) -> dict[str, str]:
    return {f"set{number}": f"images{number}" for number in range(count)}


class TestStandings:
    def test_the_best_stands_first_with_its_mean_over_seeds(self, tmp_path: Path) -> None:
        (one,) = verdicts(grid(tmp_path), {RD: 2, ALONE: 14}).standings
        assert [row.entry for row in one.rows] == [RD, ALONE]
        assert one.rows[0].metrics["accuracy"].mean == pytest.approx(1 - 2 / IMAGES)
        assert one.rows[0].metrics["accuracy"].seeds == 2
        assert one.images == {"test": IMAGES}
        assert one.rows[0].validation == 0.5

    def test_a_metric_that_should_be_low_turns_the_order(self, tmp_path: Path) -> None:
        (one,) = verdicts(grid(tmp_path), {RD: 2, ALONE: 14}, "brier").standings
        assert [row.entry for row in one.rows] == [RD, ALONE]
        brier = [row.metrics["brier"].mean for row in one.rows]
        assert brier[0] < brier[1]

    def test_nobody_is_tested_against_itself_and_equals_differ_by_nothing(
        self, tmp_path: Path
    ) -> None:
        (one,) = verdicts(grid(tmp_path), {RD: 5, ALONE: 5}).standings
        rows = {row.entry: row for row in one.rows}
        assert rows[ALONE].alone is None
        against = rows[RD].alone
        assert against is not None
        assert (against.rival, against.value) == ("student alone", 0.0)
        assert against.noise is not False

    def test_a_failed_seed_leaves_the_others(self, tmp_path: Path) -> None:
        found = grid(tmp_path)
        (one,) = verdicts(found, {}, failed=("reprogramming_distillation--seed1",)).standings
        row = one.row(RD)
        assert row is not None
        assert [name[-5:] for name in row.runs] == ["seed0"]
        assert row.metrics["accuracy"].sd is None

    def test_an_easy_seed_alone_does_not_lead(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=["kd", "rd"], seeds=[0, 1, 2])
        mistakes = {
            RD: (2, 10, 12), ALONE: (3, 11, 13), KD: (5, 0, 0),  # KD's others failed
        }  # fmt: skip
        merits: dict[str, float | None] = {}
        for cell in wanted(found, {}):
            merits[cell.name] = None if cell.entry == KD and cell.seed else 0.5
            leave_run(found, cell, mistakes[cell.entry][cell.seed])
        (one,) = Verdicts(found, merits, "accuracy", 20).standings
        assert [row.entry for row in one.rows] == [RD, ALONE, KD]
        lacking = one.rows[2]
        assert lacking.metrics["accuracy"].mean > one.rows[0].metrics["accuracy"].mean
        assert lacking.best is not None
        assert lacking.alone is not None
        assert lacking.best.value == pytest.approx(-3 / IMAGES)
        assert lacking.alone.value == pytest.approx(-2 / IMAGES)
        assert (lacking.best.sd, lacking.metrics["accuracy"].seeds) == (None, 1)
        assert one.rows[1].best is not None
        assert one.rows[1].best.sd == pytest.approx(0.0, abs=1e-9)

    def test_cell_to_take_is_the_best_on_validation(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=[ALONE], seeds=[0, 1, 2])
        for cell, value in zip(wanted(found, {}), (0.6, 0.8, 0.7), strict=True):
            leave_run(found, cell, validation={"accuracy": value})
        merits = {cell.name: 0.5 for cell in wanted(found, {})}
        (one,) = Verdicts(found, merits, "accuracy", 20).standings
        assert one.rows[0].folder == f"cells/{one.rows[0].runs[1]}"
        assert one.rows[0].validation == pytest.approx(0.7)

    def test_seeds_that_never_met_are_not_compared(self, tmp_path: Path) -> None:
        failed = ("reprogramming_distillation--seed1", "student_alone--seed0")
        (one,) = verdicts(grid(tmp_path), {}, failed=failed).standings
        assert [row.alone for row in one.rows] == [None, None]

    def test_where_nothing_ended_nothing_stands(self, tmp_path: Path) -> None:
        found = grid(tmp_path, data=sets(2))
        only = verdicts(found, {}, failed=("set0--",)).standings
        assert [one.data for one in only] == ["set1"]
        assert Verdicts(found, {}, "accuracy", 20).standings == ()
        assert Verdicts(found, {}, "accuracy", 20).rankings == {}

    def test_the_probe_is_that_of_the_first_run_that_asked_the_teacher(
        self, tmp_path: Path
    ) -> None:
        found = grid(tmp_path, seeds=[0])
        merits = leave_all(found, {})
        known = {"accuracy": estimate(0.7), "auroc": estimate(None), "nonsense": estimate(1.0)}
        for cell in wanted(found, {}):
            folder = Verdicts(found, merits, "accuracy", 20).folder(cell)
            if cell.entry == RD:
                write_json(folder.teacher_metrics, {"test": {"images": known}})
        (one,) = Verdicts(found, merits, "accuracy", 20).standings
        assert {name: spread.mean for name, spread in one.probe.items()} == {"accuracy": 0.7}


class TestRankings:
    def test_ranks_add_up_and_the_better_is_first(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=["kd", "rd"], data=sets(2), seeds=[0])
        ranking = verdicts(found, {RD: 2, KD: 8, ALONE: 15}).rankings[FROM_SCRATCH]
        assert list(ranking.averages.values()) == [1.0, 2.0, 3.0]
        assert list(ranking.averages)[-1] == "student alone"
        assert ranking.difference is None, f"below {FEWEST_BLOCKS} blocks ranks say too little"
        assert ranking.missing == ()

    def test_equals_share_a_rank(self, tmp_path: Path) -> None:
        found = grid(tmp_path, data=sets(2), seeds=[0])
        ranking = verdicts(found, {RD: 5, ALONE: 5}).rankings[FROM_SCRATCH]
        assert set(ranking.averages.values()) == {1.5}

    def test_equals_by_seeds_in_another_order_share_a_rank(self, tmp_path: Path) -> None:
        found = grid(tmp_path, data=sets(2), seeds=[0, 1, 2])
        mistakes = {RD: (0, 1, 3), ALONE: (3, 1, 0)}
        right = [[1 - n / IMAGES for n in each] for each in mistakes.values()]
        assert np.mean(right[0]) != np.mean(right[1]), "the order of the sum must matter"
        for cell in wanted(found, {}):
            leave_run(found, cell, mistakes[cell.entry][cell.seed])
        merits = {cell.name: 0.5 for cell in wanted(found, {})}
        ranking = Verdicts(found, merits, "accuracy", 20).rankings[FROM_SCRATCH]
        assert set(ranking.averages.values()) == {1.5}
        assert ranking.p == 1.0

    def test_of_many_blocks_have_a_difference_that_must_be_exceeded(self, tmp_path: Path) -> None:
        found = grid(tmp_path, data=sets(FEWEST_BLOCKS), seeds=[0])
        ranking = verdicts(found, {RD: 5, ALONE: 5}).rankings[FROM_SCRATCH]
        assert ranking.difference is not None
        assert [set(each) for each in ranking.cliques] == [set(ranking.averages)]

    def test_who_lacks_a_block_is_named_and_has_no_rank(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=["kd", "rd"], data=sets(2), seeds=[0])
        said = verdicts(found, {}, failed=("set1--test_resnet--test_efficientnet--logit",))
        assert said.rankings[FROM_SCRATCH].missing == ("KD",)
        assert "KD" not in said.rankings[FROM_SCRATCH].averages

    @pytest.mark.parametrize("lost", ["set1--", "student_alone"])
    def test_of_one_block_or_one_student_there_are_none(self, tmp_path: Path, lost: str) -> None:
        found = grid(tmp_path, data=sets(2), seeds=[0])
        assert verdicts(found, {}, failed=(lost,)).rankings == {}

    def test_are_of_the_largest_share_of_images_alone(self, tmp_path: Path) -> None:
        found = grid(tmp_path, data=sets(2), fractions=[0.1, 0.5], seeds=[0])
        assert verdicts(found, {}).rankings[FROM_SCRATCH].blocks == 2

    def test_stand_apart_for_each_start(self, tmp_path: Path) -> None:
        found = grid(tmp_path, data=sets(2), starts=[None, "run:begun"], seeds=[0])
        assert set(verdicts(found, {}).rankings) == {FROM_SCRATCH, "run:begun"}


def test_a_variant_without_the_metric_stands_last_and_is_ranked_nowhere(tmp_path: Path) -> None:
    found = grid(tmp_path, methods=["kd", "rd"], data=sets(2), seeds=[0])
    said = verdicts(found, {})
    first = said.standings[0]
    said.metric = "specificity"  # nobody measured it
    assert said._score(first.rows[0]) == float("-inf")
    assert said._ranking(said.standings) is None


class TestLeader:
    def found(self, **values: dict[int, float]) -> dict[str, Repeated]:
        return {
            name: Repeated(tuple(by_seed), np.array(list(by_seed.values())),
                           np.zeros((len(by_seed), 2)), 9)
            for name, by_seed in values.items()
        }  # fmt: skip

    def test_is_the_highest_or_the_lowest_mean(self) -> None:
        both = self.found(a={0: 0.2, 1: 0.4}, b={0: 0.5, 1: 0.6})
        assert [leader(both, sign) for sign in (1.0, -1.0)] == ["b", "a"]
        assert leader({}, 1.0) == ""

    def test_of_equals_is_the_first(self) -> None:
        assert leader(self.found(a={0: 0.2, 1: 0.4}, b={0: 0.4, 1: 0.2}), 1.0) == "a"

    def test_who_lacks_a_seed_leads_by_those_in_common(self) -> None:
        whole = {0: 0.9, 1: 0.3}
        assert leader(self.found(easy={0: 0.8}, whole=whole), 1.0) == "whole"
        assert leader(self.found(hard={1: 0.4}, whole=whole), 1.0) == "hard"
        assert leader(self.found(other={7: 1.0}, whole=whole), 1.0) == "whole"


@given(
    st.dictionaries(
        st.sampled_from("abcde"), st.none() | st.floats(0, 1), min_size=1
    ),
    st.dictionaries(st.sampled_from("abcde"), st.none() | st.floats(0, 1)),
)  # fmt: skip
def test_corrected_p_values_are_never_below_the_raw_ones_and_never_lost(
    one: dict[str, float | None], two: dict[str, float | None]
) -> None:
    by_task = {
        task: {name: Difference(0.1, 0.0, 0.2, p) for name, p in ps.items()}
        for task, ps in {"one": one, "two": two}.items()
    }
    for task, ps in {"one": one, "two": two}.items():
        found = judging._corrected(by_task, "rival")[task]
        assert set(found) == set(ps)
        for against in found.values():
            assert (against.corrected is None) == (against.p is None)
            assert against.p is None or against.p <= (against.corrected or 0.0) <= 1


def test_a_cell_that_is_left_out_has_no_cells_though_it_once_ran(tmp_path: Path) -> None:
    found = grid(tmp_path, seeds=[0])
    leave_run(found, wanted(found, {})[-1])
    merits = {cell.name: 0.5 for cell in wanted(found, {})}
    less = Grid(**{**vars(found), "left_out": {(found.blocks[0], RD): "why"}})
    entry = found.entries[RD]
    assert Verdicts(found, merits, "accuracy", 20).cells(found.blocks[0], entry)
    assert Verdicts(less, merits, "accuracy", 20).cells(found.blocks[0], entry) == []
