"""Tables of several tasks, in the shapes of the LoRKD paper's."""

from dataclasses import replace
from typing import Any

from medistill.report.markup import together
from medistill.report.rivals.account import Account, Reached, Standing
from medistill.report.rivals.budget import Budget
from medistill.report.rivals.bytask import DAGGER, by_task, task_table, task_tables
from medistill.report.rivals.latex import as_markdown, latex
from medistill.report.rivals.page import page
from medistill.report.rivals.tables import Best, ablation_table, tuned_table
from medistill.report.wording import UNDEFINED
from tests.report.reading import read

from .accounts import EVIL, account, against, row, spread, standing

LABELS = {"single_task": "STL", "multi_task": "MTL", "foundation": "foundation", "lorkd": "LoRKD"}
MEANS = {"single_task": (0.7, 0.6), "multi_task": (0.72, 0.5), "lorkd": (0.71, 0.7)}
TASKS = ("brain", "chest")


def several(tasks: tuple[str, ...] = TASKS, **changes: Any) -> Account:
    """LoRKD leads on the mean, MTL on the brain; the foundation model stands beside them."""
    rows = [_row(entry, values, tasks) for entry, values in MEANS.items()]
    tuned = _row("foundation", (0.9, 0.9), tasks)
    rows.append(replace(tuned, student=False, best=None, alone=None))
    one = standing("2 tasks", rows=tuple(sorted(rows, key=_mean)), tasks=tasks, probe={})
    facts = {"labels": LABELS, "own": "lorkd", "reference": "single_task", "variants": {}}
    return account(replace(one, **changes), **facts)


def _row(entry: str, values: tuple[float, float], tasks: tuple[str, ...]) -> Any:
    own = against("STL", values[0] - 0.7, 0.01 if entry == "lorkd" else 0.6)
    alone = None if entry == "single_task" else own
    by_task = {
        task: Reached({"accuracy": spread(value)}, None, alone)
        for task, value in zip(tasks, values, strict=True)
    }
    made = row("student_alone", sum(values) / 2, by_task=by_task, alone=alone)
    return replace(
        made, entry=entry, label=LABELS[entry], method=entry, varies=entry == "lorkd",
        together={"parameters": 1_310_000 if entry == "lorkd" else 5_000_000},
    )  # fmt: skip


def _mean(one: Any) -> float:
    return -float(one.metrics["accuracy"].mean)


def standing_of(found: Account) -> Standing:
    return found.standings[0]


def test_methods_are_rows_and_tasks_columns_with_parameters_and_the_mean() -> None:
    found = several()
    table = task_table(found, standing_of(found))
    assert table.head == ["", "parameters", "brain", "chest", "mean"]
    assert [line[0] for line in table.rows] == ["foundation", "STL", "MTL", "LoRKD"]
    assert table.rows[-1][1:] == ["1.31 M", "71.0 ± 1.5", "70.0 ± 1.5", "70.5 ± 1.5"]
    assert "what they share counted once" in table.caption


def test_the_best_of_each_column_competes() -> None:
    found = several()
    rows = task_table(found, standing_of(found)).rows
    best = [[cell for cell in line if isinstance(cell, Best)] for line in rows]
    assert best == [[], [], ["72.0 ± 1.5"], ["70.0 ± 1.5", "70.5 ± 1.5"]]


def test_a_shared_backbone_has_a_dagger_and_what_is_missing_a_dash() -> None:
    found = several(transfer=True)
    first, *rest = standing_of(found).rows
    shared = {task: replace(reached, shared=True) for task, reached in first.by_task.items()}
    changed = (replace(first, by_task=shared), replace(rest[0], by_task={}, metrics={}), *rest[1:])
    table = task_table(found, replace(standing_of(found), rows=changed))
    told = {line[0]: line[-3:] for line in table.rows}
    assert told[first.label][:2] == [f"90.0 ± 1.5{DAGGER}", f"90.0 ± 1.5{DAGGER}"]
    assert told[rest[0].label] == [UNDEFINED] * 3
    assert DAGGER in table.caption
    assert "†" in as_markdown({"transfer": table})
    assert r"$\dagger$" in latex({"transfer": table})


def test_the_teacher_that_judges_the_tasks_itself_stands_first() -> None:
    probes = {task: {"accuracy": spread(0.8, None)} for task in TASKS}
    found = several(probe_by_task=probes, probe={"accuracy": spread(0.8, None)})
    first = task_table(found, standing_of(found)).rows[0]
    assert first == ["vit, the teacher", "85.8 M", "80.0", "80.0", "80.0"]


def test_sets_of_tasks_have_tables_of_their_own() -> None:
    found = several()
    one = standing_of(found)
    many = replace(found, standings=(one, replace(one, data="b")), transfers=(one, one))
    many = replace(many, transfers=(replace(one, transfer=True),))
    assert list(task_tables(many)) == ["transfer", "tasks", "tasks-2"]
    assert task_tables(account()) == {}


def test_the_page_tests_each_task_and_names_the_rival() -> None:
    said = read(page(several(), Budget())).text
    assert "Task by task" in said
    assert "Differences to STL, by task" in said
    assert "Against STL it has" in said
    assert "the student alone" not in said
    assert "Task by task" not in read(page(account(), Budget())).text


def test_images_that_were_learnt_from_are_told_at_the_top() -> None:
    found = replace(several(), learnt=("MTL: 3 test images of busi are",))
    assert "Learnt from before: 1\nMTL: 3 test images" in read(page(found, Budget())).text


def test_ranks_stand_beside_their_parameters() -> None:
    table = ablation_table(several())
    assert table is not None
    assert table.head[:2] == ["", "parameters"]
    assert [line[:2] for line in table.rows] == [["STL", "5.00 M"], ["LoRKD", "1.31 M"]]
    assert tuned_table(several()) is None


def test_what_a_recipe_calls_tasks_is_no_markup() -> None:
    assert "<script" not in page(several((EVIL, "chest")), Budget())


class TestFoundation:
    def first(self, **changes: Any) -> list[str]:
        found = several(**changes)
        table = task_table(found, standing_of(found))
        assert {len(line) for line in table.rows} == {len(table.head)}
        return list(table.rows[0])

    def test_its_values_stand_under_their_tasks_whatever_their_order(self) -> None:
        probes = {task: {"accuracy": spread(v, None)} for task, v in (("chest", 0.6), ("eye", 0.1),
                                                                     ("brain", 0.8))}  # fmt: skip
        first = self.first(probe_by_task=probes, probe={"accuracy": spread(0.7, None)})
        assert first[2:] == ["80.0", "60.0", "70.0"]

    def test_task_that_it_was_not_judged_on_is_a_dash(self) -> None:
        first = self.first(probe_by_task={"chest": {"accuracy": spread(0.6, None)}})
        assert first[2:] == [UNDEFINED, "60.0", UNDEFINED]

    def test_its_one_head_stands_below_with_the_mean_of_all_tasks_and_is_told_of(self) -> None:
        probes = {task: {"accuracy": spread(0.8, None)} for task in TASKS}
        unified = {task: {"accuracy": spread(v, None)} for task, v in zip(TASKS, (0.5, 0.3, 0.1),
                                                                         strict=False)}  # fmt: skip
        found = several(
            probe_by_task=probes, probe={"accuracy": spread(0.8, None)}, unified=unified
        )
        table = task_table(found, standing_of(found))
        values = [100 * one["accuracy"].mean for one in unified.values()]
        told = [f"{value:.1f}" for value in values]
        mean = f"{sum(values) / len(values):.1f}"
        assert table.rows[1] == ["vit, its one head", "85.8 M", *told, mean]
        assert "judged twice" in table.caption

    def test_of_one_head_that_missed_a_task_there_is_no_mean(self) -> None:
        probes = {task: {"accuracy": spread(0.8, None)} for task in TASKS}
        unified = {TASKS[0]: {"accuracy": spread(0.5, None)}, TASKS[1]: {}}
        found = several(probe_by_task=probes, unified=unified)
        row = task_table(found, standing_of(found)).rows[1]
        assert row[2:] == ["50.0", UNDEFINED, UNDEFINED]


class TestWords:
    def test_name_of_a_metric_keeps_its_capitals(self) -> None:
        found = replace(several(), metric="auroc")
        assert ": AUROC on test," in task_table(found, standing_of(found)).caption

    def test_one_seed_has_no_deviation(self) -> None:
        found = replace(several(), seeds=(0,))
        assert "accuracy in % on test, 1 seed." in task_table(found, standing_of(found)).caption

    def test_parameters_of_a_transfer_are_those_of_the_network_that_starts(self) -> None:
        found = several(transfer=True)
        assert "of the network that starts" in task_table(found, standing_of(found)).caption

    def test_a_transfer_tells_what_is_left_of_the_foundation_model(self) -> None:
        found = several(transfer=True)
        sizes = {"foundation": 23_508_032, "LoRKD": 1_253_604, "MTL": None}
        one = standing_of(found)
        rows = tuple(
            replace(line, cost={"parameters": sizes.get(line.label, 2e6)}) for line in one.rows
        )
        table = task_table(found, replace(one, rows=rows))
        told = {line[0]: line[2] for line in table.rows}
        assert table.head[2] == "compression"
        assert told == {"foundation": "100 %", "LoRKD": "5.33 %", "STL": "8.51 %", "MTL": UNDEFINED}
        # Where no foundation model starts, there is nothing to compare with.
        rows = tuple(replace(line, student=True) for line in rows)
        assert "compression" not in task_table(found, replace(one, rows=rows)).head

    def test_best_of_a_metric_that_should_be_low_is_the_lowest(self) -> None:
        found = several()
        one = standing_of(found)
        rows = tuple(
            replace(
                line, metrics={"brier": line.metrics["accuracy"]},
                by_task={task: replace(reached, metrics={"brier": reached.metrics["accuracy"]})
                         for task, reached in line.by_task.items()},
            )
            for line in one.rows
        )  # fmt: skip
        table = task_table(replace(found, metric="brier"), replace(one, rows=rows))
        best = {line[0]: [c for c in line if isinstance(c, Best)] for line in table.rows}
        assert best["STL"] == ["0.700 ± 0.015"]
        assert best["MTL"] == ["0.500 ± 0.015", "0.610 ± 0.015"]
        assert best["foundation"] == []


def test_differences_are_told_against_the_best_and_the_reference() -> None:
    found = several()
    one = standing_of(found)
    lead = one.students[0]
    best = against(lead.label, -0.02, 0.4)
    rows = tuple(line if line is lead else replace(line, best=best) for line in one.rows)
    said = read(together(by_task(replace(found, standings=(replace(one, rows=rows),))))).text
    assert f"Differences to {lead.label}, by task" in said
    assert said.index(f"Differences to {lead.label}") < said.index("Differences to STL")


def test_task_that_nobody_tested_has_no_table_of_differences() -> None:
    found = several()
    one = standing_of(found)
    rows = tuple(replace(line, best=None, alone=None, by_task={}) for line in one.rows)
    assert "Differences to" not in read(together(by_task(several(rows=rows)))).text
