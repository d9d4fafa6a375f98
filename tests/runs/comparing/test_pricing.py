"""What networks cost: equal ones alike, whatever else the machine was doing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medistill.report.rivals.budget import points
from medistill.results import write_json
from medistill.runs.comparing import pricing
from medistill.runs.comparing.grid import Grid, wanted
from medistill.runs.comparing.judging import Verdicts
from tests.report.rivals.accounts import account

from .made import grid, leave_all

RD, ALONE = "reprogramming_distillation", "student_alone"
NETWORK = {"parameters": 9, "macs": 70, "bytes": 36}


def priced(found: Grid, costs: Sequence[dict[str, Any]], **wrong: int) -> Verdicts:
    """Finished cells, in the order of the grid, of which each says what its networks cost."""
    said = Verdicts(found, leave_all(found, wrong), "accuracy", 20)
    for cell, cost in zip(wanted(found, {}), costs, strict=True):
        write_json(said.folder(cell).cost, cost)
    return said


def timed(*latencies: float, **more: Any) -> list[dict[str, Any]]:
    return [{"student": {**NETWORK, "latency_ms_p50": each, **more}} for each in latencies]


class TestCosts:
    def test_costs_are_the_middle_of_the_seeds(self, tmp_path: Path) -> None:
        found = grid(tmp_path, methods=[ALONE], seeds=[0, 1, 2])
        costs = [{"student": {"latency_ms_p50": each, "macs": 7}} for each in (3.0, 90.0, 4.0)]
        said = priced(found, costs)
        (row,) = said.standings[0].rows
        assert row.cost == {"latency_ms_p50": 4.0, "macs": 7}
        assert (row.step_seconds, row.peak_bytes, row.together) == (None, None, {})

    def test_equal_networks_have_one_latency_in_all_rows(self, tmp_path: Path) -> None:
        found = grid(tmp_path)
        # Both seeds of one entry were unlucky: by seeds alone it would be three times as slow.
        (one,) = priced(found, timed(1.5, 8.0, 1.6, 9.0)).standings
        assert [row.cost["latency_ms_p50"] for row in one.rows] == [4.8, 4.8]

    def test_front_is_of_quality_where_all_is_one_network(self, tmp_path: Path) -> None:
        found = grid(tmp_path)
        said = priced(found, timed(1.5, 1.5, 9.0, 9.0), **{RD: 2, ALONE: 14})
        shown = points(account(*said.standings), "images", "latency_ms_p50")
        assert [point.name for point in shown if point.front] == ["RD"]

    @pytest.mark.parametrize("changed", ["parameters", "macs", "bytes"])
    def test_other_networks_keep_their_own(self, tmp_path: Path, changed: str) -> None:
        found = grid(tmp_path, seeds=[0])
        costs = [*timed(1.0), *timed(5.0, **{changed: 8})]
        (one,) = priced(found, costs).standings
        assert {row.cost["latency_ms_p50"] for row in one.rows} == {1.0, 5.0}

    def test_time_of_a_volume_is_that_of_its_set(self, tmp_path: Path) -> None:
        found = grid(tmp_path, data={"a": "a", "b": "b"}, methods=[ALONE], seeds=[0, 1])
        costs = [{"student": {**NETWORK, "seconds_a_volume": s}} for s in (1.0, 10.0, 3.0, 30.0)]
        said = priced(found, costs)
        assert [one.rows[0].cost["seconds_a_volume"] for one in said.standings] == [2.0, 20.0]

    def test_teacher_is_timed_by_all_that_asked_it(self, tmp_path: Path) -> None:
        found = grid(tmp_path)
        teachers = [{}, *({"teacher": {**NETWORK, "latency_ms_p50": s}} for s in (9.0, 2.0)), {}]
        cells = [cell.entry for cell in wanted(found, {})]
        costs = iter(teachers[1:3])
        (one,) = priced(found, [next(costs) if e == RD else {} for e in cells]).standings
        assert one.teacher_cost["latency_ms_p50"] == 5.5


@pytest.mark.parametrize(
    ("cost", "found"),
    [
        ({}, {}),
        ({"together": {"parameters": 9, "bytes": 36, "macs": 1}}, {"parameters": 9, "bytes": 36}),
        ({"together": {"parameters": 9}, "unfused": {"parameters": 5}}, {"parameters": 5}),
        ({"together": {"parameters": 9}, "unfused": None}, {"parameters": 9}),
    ],
)
def test_all_tasks_are_counted_in_the_form_that_needs_least(
    cost: dict[str, Any], found: dict[str, int]
) -> None:
    assert pricing._together(cost) == found
