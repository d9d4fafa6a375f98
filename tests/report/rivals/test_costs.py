"""What networks cost, and what their training took: nothing is made up where nobody measured."""

from dataclasses import replace

from medistill.report.rivals.account import Account
from medistill.report.rivals.costs import TIMES, cost_table, training_table
from medistill.report.wording import UNDEFINED

from .accounts import COST, account, row, standing


def trained(**expenses: tuple[float | None, float | None]) -> Account:
    """One block whose entries took so many seconds a step, and so many bytes."""
    rows = [
        replace(row(entry, 0.6), step_seconds=step, peak_bytes=peak)
        for entry, (step, peak) in expenses.items()
    ]
    return account(standing(rows=tuple(rows)))


class TestTraining:
    def test_two_students_have_columns_of_their_own_that_name_them(self) -> None:
        table = training_table(account(standing(), standing(student="resnet18")))
        assert table is not None
        assert len(table.head) == 1 + 2 * 4
        assert table.head[1] == "a step, shufflenet"
        assert table.head[8] == "times student alone, resnet18"
        assert {len(line) for line in table.rows} == {9}

    def test_method_that_ran_with_one_of_them_has_dashes_at_the_other(self) -> None:
        other = standing(student="resnet18", rows=(row("student_alone", 0.6),))
        table = training_table(account(standing(), other))
        assert table is not None
        (hint,) = (line for line in table.rows if line[0] == "hint")
        assert hint[1] == "71.0 ms"
        assert hint[5:] == [UNDEFINED] * 4

    def test_blocks_of_one_student_are_averaged(self) -> None:
        slow = replace(row("hint", 0.6), step_seconds=0.2, peak_bytes=1e9)
        fast = replace(row("hint", 0.6), step_seconds=0.1, peak_bytes=3e9)
        table = training_table(account(standing(rows=(slow,)), standing("busi", rows=(fast,))))
        assert table is not None
        assert table.rows[0] == ["hint", "150 ms", UNDEFINED, "2.00 GB", UNDEFINED]

    def test_what_was_not_measured_is_a_dash_and_a_method_of_dashes_is_left_out(self) -> None:
        table = training_table(trained(student_alone=(0.05, None), hint=(None, None)))
        assert table is not None
        assert table.rows == [["student alone", "50.0 ms", f"1.00{TIMES}", UNDEFINED, UNDEFINED]]

    def test_of_nothing_measured_there_is_no_table(self) -> None:
        assert training_table(trained(student_alone=(None, None), hint=(None, None))) is None

    def test_words_name_the_machine_and_whose_memory_it_is(self) -> None:
        table = training_table(replace(account(), peak_of="the card", machine="An H200"))
        assert table is not None
        assert "the most memory of the card while it trained, on An H200" in table.caption


class TestNetworks:
    def test_without_a_foundation_model_students_stand_alone(self) -> None:
        table = cost_table(account(standing(teacher=None)))
        assert table is not None
        assert [line[0] for line in table.rows] == ["shufflenet"]

    def test_foundation_model_of_unknown_cost_has_no_row(self) -> None:
        table = cost_table(account(standing(teacher_cost={})))
        assert table is not None
        assert [line[0] for line in table.rows] == ["shufflenet"]

    def test_what_was_not_measured_is_a_dash(self) -> None:
        part = {**COST, "macs": None, "latency_ms_p50": None}
        one = standing(rows=(replace(row("hint", 0.6), cost=part),), teacher=None)
        table = cost_table(account(one))
        assert table is not None
        assert table.rows == [["shufflenet", "1.26 M", UNDEFINED, "5.15 MB", UNDEFINED]]

    def test_of_no_network_there_is_no_table(self) -> None:
        assert cost_table(account(standing(rows=(), teacher=None))) is None
