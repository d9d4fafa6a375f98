"""What several networks cost beside each other."""

import pytest

from medistill.analysis.cost import cost
from medistill.models.lowrank.experts import with_experts
from medistill.runs import bills
from tests.tiny import SIZE, tiny_student


def test_latency_is_taken_over_where_the_work_is_the_same_and_only_there() -> None:
    own = cost(tiny_student(), (3, SIZE, SIZE)).as_dict()
    first = {**own, "latency_ms_p50": 1.0, "latency_ms_p95": 2.0, "ratio": 3.0}
    same = bills._cost(tiny_student(classes=7), SIZE, first)
    assert (same["latency_ms_p50"], same["latency_ms_p95"]) == (1.0, 2.0)
    assert "ratio" not in same
    assert set(bills._cost(tiny_student(9), SIZE, first)) == set(own)


def test_an_expert_of_a_higher_rank_is_more_work() -> None:
    decomposed = with_experts(tiny_student().encoder, [1, 4]).eval()
    each = [bills._macs(decomposed, expert, SIZE) for expert in (0, 1)]
    assert each[0] < each[1]


@pytest.mark.parametrize("rank", [1, 3])
def test_experts_of_one_rank_are_the_same_work(rank: int) -> None:
    decomposed = with_experts(tiny_student().encoder, [rank, rank]).eval()
    assert bills._macs(decomposed, 0, SIZE) == bills._macs(decomposed, 1, SIZE)
