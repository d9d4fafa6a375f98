"""What several networks cost beside each other."""

from medistill.analysis.cost import cost
from medistill.runs import bills
from tests.tiny import SIZE, tiny_student


def test_latency_is_taken_over_where_the_work_is_the_same_and_only_there() -> None:
    own = cost(tiny_student(), (3, SIZE, SIZE)).as_dict()
    first = {**own, "latency_ms_p50": 1.0, "latency_ms_p95": 2.0, "ratio": 3.0}
    same = bills._cost(tiny_student(classes=7), SIZE, first)
    assert (same["latency_ms_p50"], same["latency_ms_p95"]) == (1.0, 2.0)
    assert "ratio" not in same
    assert set(bills._cost(tiny_student(9), SIZE, first)) == set(own)
