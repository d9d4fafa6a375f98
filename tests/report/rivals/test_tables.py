"""Tables of a comparison: in the paper's shapes, and true to the account."""

from dataclasses import replace

import pytest

from medistill.report.rivals.costs import TIMES, cost_table, training_table
from medistill.report.rivals.latex import as_markdown, latex
from medistill.report.rivals.tables import (
    Best,
    ablation_table,
    methods_table,
    size_table,
    teacher_table,
    tuned_table,
    tuning_table,
)
from medistill.report.tables import Table
from medistill.report.wording import MINUS, UNDEFINED

from .accounts import LARGE, account, six_blocks, standing, three_sizes


def made(table: Table | None) -> Table:
    assert table is not None
    assert all(len(row) == len(table.head) for row in table.rows)
    return table


def test_methods_stand_beside_each_other_in_each_block_with_the_best_of_them() -> None:
    table = made(methods_table(six_blocks()))
    assert table.head == [
        "data", "student", "foundation model", "its probe", "student alone", "KD", "hint", "RD",
    ]  # fmt: skip
    assert len(table.rows) == 6
    assert table.rows[0] == [
        "covid_ct", "shufflenet", "vit", "75.9", "65.0 ± 1.5", "66.0 ± 1.5", "61.0 ± 1.5",
        "69.0 ± 1.5",
    ]  # fmt: skip
    assert [cell for cell in table.rows[0] if isinstance(cell, Best)] == ["69.0 ± 1.5"]
    assert "Accuracy in % on test, mean ± deviation of 3 seeds" in table.caption


def test_a_metric_that_should_be_low_is_best_where_it_is_lowest() -> None:
    table = made(methods_table(account(metric="expected_calibration_error")))
    assert [cell for cell in table.rows[0] if isinstance(cell, Best)] == ["0.060 ± 0.015"] * 4
    low = standing()
    rows = [replace(r, metrics={**r.metrics, "brier": r.metrics["accuracy"]}) for r in low.rows]
    table = made(methods_table(account(replace(low, rows=tuple(rows)), metric="brier")))
    assert [cell for cell in table.rows[0] if isinstance(cell, Best)] == ["0.610 ± 0.015"]


def test_tuned_foundation_models_are_distilled_and_averaged_beside_the_own_method() -> None:
    table = made(tuned_table(six_blocks()))
    assert table.head == ["data", "student", "lora+kd", "RD"]
    assert table.rows[-1] == ["average", "", "72.0", "74.0"]


def test_an_average_over_blocks_of_which_some_lack_the_method_is_not_given() -> None:
    less = standing("busi")
    less = replace(less, rows=tuple(row for row in less.rows if row.entry != "lora+kd"))
    assert made(tuned_table(account(standing(), less))).rows[-1][2] == UNDEFINED


def test_an_ablation_holds_the_variants_of_a_method_and_the_student_alone() -> None:
    table = made(ablation_table(account()))
    assert [row[0] for row in table.rows] == ["student alone", "RD", "rd-without-cka"]
    assert table.rows[2][1] == "66.0 ± 1.5"


def test_gains_stand_by_the_number_of_training_images_from_few_to_many() -> None:
    table = made(size_table(three_sizes()))
    assert [row[1] for row in table.rows] == ["42", "106", "425"]
    assert table.rows[0][0] == "covid_ct · vit to shufflenet · 10 %"
    assert table.rows[0][2:] == ["53.0 ± 1.5", "+1.0", f"{MINUS}4.0", "+4.0", "+1.0", "+2.0"]


def test_mean_gains_stand_by_foundation_model() -> None:
    table = made(teacher_table(account(standing(), standing(teacher="clip", shift=0.1))))
    assert table.head == ["", "vit", "clip", "all"]
    assert ["RD", "+4.0", "+4.0", "+4.0"] in table.rows


def test_costs_name_each_network_once() -> None:
    table = made(cost_table(six_blocks()))
    assert [row[0] for row in table.rows] == ["vit", "shufflenet", "resnet18"]
    assert table.rows[0][1:] == ["85.8 M", "17.5 G", "343 MB", "101 ms"]


def test_training_is_measured_by_the_student_alone_unless_the_whole_model_was_tuned() -> None:
    table = made(training_table(account()))
    assert table.rows[0] == ["student alone", "52.0 ms", f"1.00{TIMES}", "412 MB", f"1.00{TIMES}"]
    assert table.rows[1][2] == f"1.37{TIMES}"
    whole = [replace(r, method="full_fine_tuning") if r.entry == "lora" else r
             for r in standing().rows]  # fmt: skip
    table = made(training_table(account(standing(rows=tuple(whole)))))
    assert "multiples of lora" in table.caption
    assert table.rows[0][4] == f"0.07{TIMES}"


def test_tuning_tells_what_was_tried_and_what_was_chosen() -> None:
    rows = [replace(r, tried=(1.0, 4.0, 0.25), weight=4.0 if r.entry == "hint" else None)
            for r in standing().rows if r.entry in ("hint", "logit_distillation")]  # fmt: skip
    table = made(tuning_table(account(standing(rows=tuple(rows)), tune=3)))
    assert {row[1]: row[2:] for row in table.rows} == {
        "KD": ["0.250, 1.00, 4.00", "1.00"], "hint": ["0.250, 1.00, 4.00", "4.00"],
    }  # fmt: skip
    assert "among 3 weights" in table.caption


@pytest.mark.parametrize("make", [tuned_table, ablation_table, tuning_table, teacher_table])
def test_a_table_of_nothing_is_none(make: object) -> None:
    alone = [row for row in standing().rows if row.entry == "student_alone"]
    assert callable(make)
    assert make(account(standing(rows=tuple(alone), teacher=None))) is None


def test_latex_has_booktabs_bold_cells_and_no_letter_that_tex_minds() -> None:
    text = latex({"methods": made(methods_table(account()))})
    assert r"\label{tab:methods}" in text
    assert r"\begin{tabular}{llllllll}" in text
    assert r"covid\_ct & shufflenet & vit & 75.9 & 65.0 $\pm$ 1.5" in text
    assert r"\textbf{69.0 $\pm$ 1.5} \\" in text
    assert r"Accuracy in \% on test" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1


def test_markdown_has_the_same_with_stars() -> None:
    text = as_markdown({"methods": made(methods_table(account()))})
    assert "| covid_ct | shufflenet | vit | 75.9 | 65.0 ± 1.5 |" in text
    assert "| **69.0 ± 1.5** |" in text


def test_a_large_network_beside_a_small_one_has_a_row_of_its_own() -> None:
    large = standing(student="resnet18")
    large = replace(large, rows=tuple(replace(row, cost=LARGE) for row in large.rows))
    rows = {row[0]: row for row in made(cost_table(account(standing(), large))).rows}
    assert rows["resnet18"][1] == "11.2 M"
