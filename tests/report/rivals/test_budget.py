"""The front of quality and cost, and what a budget allows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.report.rivals.account import Account
from medistill.report.rivals.budget import (
    MEGABYTE,
    Budget,
    best_within,
    front_table,
    points,
    record,
    sentences,
)

from .accounts import TEACHER, account, row, spread, standing

BOUND = st.none() | st.integers(0, 50)
PLACE = st.tuples(st.integers(1, 6), st.integers(1, 6))  # few values, so that many are equal


def priced(*places: tuple[int, int], metric: str = "accuracy") -> Account:
    """Networks that cost and reach what is said, in milliseconds and hundredths."""
    rows = [
        replace(
            row("hint", 0.5), label=f"n{number}", cost={"latency_ms_p50": cost},
            metrics={metric: spread(value / 100)},
        )
        for number, (cost, value) in enumerate(places)
    ]  # fmt: skip
    one = standing(rows=tuple(rows), teacher=None, teacher_cost={}, probe={})
    return account(one, metric=metric)


class TestBudget:
    @given(BOUND, BOUND, st.integers(0, 50), st.integers(0, 50))
    def test_more_to_spend_never_forbids_what_was_allowed(
        self, size: int | None, time: int | None, megabytes: int, milliseconds: int
    ) -> None:
        cost = {"bytes": megabytes * MEGABYTE, "latency_ms_p50": milliseconds}
        allowed = Budget(size, time).allows(cost)
        more = Budget(*(None if bound is None else bound + 1 for bound in (size, time)))
        assert more.allows(cost) >= allowed
        assert Budget().allows(cost)

    def test_bound_itself_is_within(self) -> None:
        assert Budget(5, 3).allows({"bytes": 5_000_000, "latency_ms_p50": 3})
        assert not Budget(5, 3).allows({"bytes": 5_000_001, "latency_ms_p50": 3})

    @pytest.mark.parametrize("cost", [{}, {"bytes": None, "latency_ms_p50": None}])
    def test_unknown_cost_is_within_nothing_but_no_bound(self, cost: dict[str, None]) -> None:
        assert not Budget(megabytes=1e9).allows(cost)
        assert not Budget(milliseconds=1e9).allows(cost)
        assert Budget().allows(cost)

    def test_it_is_said_as_it_was_asked(self) -> None:
        told = [str(Budget(10.0, 5)), str(Budget(0.5)), str(Budget(None, 2.5)), str(Budget())]
        assert told == ["10 MB and 5 ms", "0.5 MB", "2.5 ms", ""]
        assert [Budget(0).asked, Budget(None, 0.0).asked, Budget().asked] == [True, True, False]


class TestBest:
    def test_of_a_metric_that_should_be_low_the_lowest_wins(self) -> None:
        rows = tuple(replace(row("hint", 0.6), validation=v, label=str(v)) for v in (0.2, 0.1, 0.3))
        (found,) = best_within(account(standing(rows=rows), metric="brier"), Budget(10)).values()
        assert found is not None
        assert found[1].label == "0.1"

    def test_network_that_validation_never_judged_is_not_chosen(self) -> None:
        rows = (replace(row("hint", 0.9), validation=None), row("student_alone", 0.1))
        (found,) = best_within(account(standing(rows=rows)), Budget(10)).values()
        assert found is not None
        assert found[1].entry == "student_alone"

    def test_validation_of_zero_is_a_value(self) -> None:
        rows = (replace(row("hint", 0.9), validation=0.0),)
        assert best_within(account(standing(rows=rows)), Budget())["covid_ct"] is not None

    def test_only_students_are_chosen(self) -> None:
        rows = tuple(replace(one, validation=0.99) if not one.student else one
                     for one in standing().rows)  # fmt: skip
        (found,) = best_within(account(standing(rows=rows)), Budget(1000)).values()
        assert found is not None
        assert found[1].label == "RD"

    def test_equals_on_validation_are_not_told_apart_by_test(self) -> None:
        level = sum([0.66, 0.63, 0.51]) / 3, sum([0.51, 0.63, 0.66]) / 3
        rows = (
            replace(row("reprogramming_distillation", 0.9), validation=max(level)),
            replace(row("logit_distillation", 0.6), validation=min(level)),
        )
        (found,) = best_within(account(standing(rows=rows)), Budget(10)).values()
        assert found is not None
        assert found[1].label == "KD", "the recipe names it first"

    def test_record_has_bounds_and_what_was_chosen(self) -> None:
        found = record(account(), Budget(10, 3))
        assert (found["megabytes"], found["milliseconds"]) == (10, 3)
        best = found["best"]["covid_ct"]
        assert (best["student"], best["teacher"], best["label"]) == ("shufflenet", "vit", "RD")
        assert best["folder"].startswith("cells/covid_ct--vit--shufflenet--reprogramming")
        assert best["cost"]["bytes"] == 5_146_000
        assert record(account(), Budget(0.1))["best"] == {"covid_ct": None}
        assert record(account(), Budget()) == {}
        assert sentences(account(), Budget()) == {}

    def test_each_set_has_its_own(self) -> None:
        found = best_within(account(standing(), standing("busi", shift=0.1)), Budget(10))
        assert {data: choice and choice[0].data for data, choice in found.items()} == {
            "covid_ct": "covid_ct", "busi": "busi",
        }  # fmt: skip


class TestFront:
    @given(st.lists(PLACE, min_size=1, max_size=8))
    def test_it_holds_what_nothing_beats_and_covers_all_else(
        self, places: list[tuple[int, int]]
    ) -> None:
        found = points(priced(*places), "covid_ct", "latency_ms_p50")
        front = [(p.cost, p.value) for p in found if p.front]
        assert front
        for point in found:
            as_good = [(c, v) for c, v in front if c <= point.cost and v >= point.value]
            better = [place for place in as_good if place != (point.cost, point.value)]
            assert bool(better) != point.front
            assert as_good

    @given(st.lists(PLACE, min_size=1, max_size=8))
    def test_of_a_metric_that_should_be_low_it_is_mirrored(
        self, places: list[tuple[int, int]]
    ) -> None:
        low = [(cost, 7 - value) for cost, value in places]
        wanted = points(priced(*places), "covid_ct", "latency_ms_p50")
        found = points(priced(*low, metric="brier"), "covid_ct", "latency_ms_p50")
        assert [p.front for p in found] == [p.front for p in wanted]

    def test_costs_are_in_the_unit_that_was_asked(self) -> None:
        found = points(account(), "covid_ct", "bytes", MEGABYTE)
        assert {p.name: p.cost for p in found}["RD"] == 5.146

    def test_foundation_model_stands_by_its_probe_and_by_its_tuned_form(self) -> None:
        found = {p.name: p for p in points(account(), "covid_ct", "latency_ms_p50")}
        assert found["probe of vit"].value == 0.759
        assert found["probe of vit"].cost == TEACHER["latency_ms_p50"]
        assert found["probe of vit"].series == found["lora"].series != found["RD"].series

    def test_students_are_named_only_where_there_are_several(self) -> None:
        one = {p.name for p in points(account(), "covid_ct", "bytes")}
        two = points(account(standing(), standing(student="resnet18")), "covid_ct", "bytes")
        assert "RD" in one
        assert {"RD, shufflenet", "RD, resnet18", "lora", "probe of vit"} <= {p.name for p in two}

    def test_teachers_and_starts_are_named_where_they_make_a_difference(self) -> None:
        blocks = [
            standing(teacher=teacher, start=start)
            for start in (None, "runs/begun")
            for teacher in ("vit", "clip")
        ]
        found = [p.name for p in points(account(*blocks), "covid_ct", "bytes")]
        assert {
            "RD, taught by vit", "RD, taught by clip", "RD, taught by vit, from begun",
            "student alone", "student alone, from begun", "lora, vit", "lora, clip",
        } <= set(found)  # fmt: skip
        assert found.count("student alone") == 1, "it has no teacher"

    def test_equals_of_one_cost_are_on_the_front_together(self) -> None:
        level = sum([0.66, 0.63, 0.51]) / 3, sum([0.51, 0.63, 0.66]) / 3
        rows = (row("hint", level[0]), row("logit_distillation", level[1]))
        found = points(account(standing(rows=rows, probe={})), "covid_ct", "bytes")
        assert [p.front for p in found] == [True, True]

    def test_table_names_the_front_of_each_cost_with_its_folders(self) -> None:
        table = front_table(account())
        assert table is not None
        assert table.head == ["data", "cost", "network", "it takes", "accuracy in %", "folder"]
        assert [line[1:5] for line in table.rows] == [
            ["latency an image", "RD", "2.91 ms", "69.0"],
            ["latency an image", "lora", "101 ms", "78.0"],
            ["weights", "RD", "5.15 MB", "69.0"], ["weights", "lora", "343 MB", "78.0"],
        ]  # fmt: skip
        assert table.rows[0][5].endswith("reprogramming_distillation--seed1")
        assert front_table(account(standing(rows=(), probe={}))) is None

    def test_teacher_of_two_students_is_one_point(self) -> None:
        found = points(account(standing(), standing(student="resnet18")), "covid_ct", "bytes")
        assert [p.name for p in found].count("probe of vit") == 1

    def test_what_was_not_measured_has_no_place(self) -> None:
        rows = (replace(row("hint", 0.6), cost={"bytes": None}), replace(row("lora", 0.8), cost={}))
        one = standing(rows=rows, teacher=None, teacher_cost={}, probe={})
        assert points(account(one), "covid_ct", "bytes") == []
        assert points(account(), "another", "bytes") == []
