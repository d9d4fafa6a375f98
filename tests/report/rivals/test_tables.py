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

from .accounts import LARGE, account, against, row, six_blocks, standing, three_sizes


def made(table: Table | None) -> Table:
    assert table is not None
    assert all(len(row) == len(table.head) for row in table.rows)
    return table


def test_methods_stand_beside_each_other_in_each_block_with_the_best_of_them() -> None:
    table = made(methods_table(six_blocks()))
    assert table.head == [
        "data", "student", "foundation model", "its probe", "FM (lora)", "student alone", "KD",
        "hint", "RD",
    ]  # fmt: skip
    assert len(table.rows) == 6
    assert table.rows[0] == [
        "covid_ct", "shufflenet", "vit", "75.9", "78.0 ± 1.5", "65.0 ± 1.5", "66.0 ± 1.5",
        "61.0 ± 1.5", "69.0 ± 1.5",
    ]  # fmt: skip
    assert [cell for cell in table.rows[0] if isinstance(cell, Best)] == ["69.0 ± 1.5"]
    assert "Accuracy in % on test, mean ± deviation of 3 seeds" in table.caption
    assert "FM: the foundation model itself, trained." in table.caption


def test_a_metric_that_should_be_low_is_best_where_it_is_lowest() -> None:
    table = made(methods_table(account(metric="expected_calibration_error")))
    assert [cell for cell in table.rows[0] if isinstance(cell, Best)] == ["0.060 ± 0.015"] * 4
    low = standing()
    rows = [replace(r, metrics={**r.metrics, "brier": r.metrics["accuracy"]}) for r in low.rows]
    table = made(methods_table(account(replace(low, rows=tuple(rows)), metric="brier")))
    assert [cell for cell in table.rows[0] if isinstance(cell, Best)] == ["0.610 ± 0.015"]


def test_tuned_foundation_models_are_distilled_and_averaged_beside_the_own_method() -> None:
    table = made(tuned_table(six_blocks()))
    assert table.head == ["data", "student", "FM (lora)", "lora+kd", "RD"]
    assert table.rows[-1] == ["average", "", "83.0", "72.0", "74.0"]


def test_own_method_that_comes_after_another_has_one_column() -> None:
    assert made(tuned_table(account(own="lora+kd"))).head[2:] == ["FM (lora)", "lora+kd"]
    assert made(tuned_table(account(own="lora"))).head[2:] == ["FM (lora)", "lora+kd"]


def test_an_average_over_blocks_of_which_some_lack_the_method_is_not_given() -> None:
    less = standing("busi")
    less = replace(less, rows=tuple(row for row in less.rows if row.entry != "lora+kd"))
    assert made(tuned_table(account(standing(), less))).rows[-1][3] == UNDEFINED


def test_an_ablation_holds_the_variants_of_a_method_and_the_student_alone() -> None:
    table = made(ablation_table(account()))
    assert [row[0] for row in table.rows] == ["student alone", "RD", "rd-without-cka", "FM (lora)"]
    assert table.rows[2][1] == "66.0 ± 1.5"


def test_gains_stand_by_the_number_of_training_images_from_few_to_many() -> None:
    table = made(size_table(three_sizes()))
    assert [row[1] for row in table.rows] == ["42", "106", "425"]
    assert table.rows[0][0] == "covid_ct · vit to shufflenet · 10 %"
    assert table.rows[0][2:] == [
        "53.0 ± 1.5", "+1.0 ± 2.0 (noise)", f"{MINUS}4.0 ± 2.0 (noise)", "+4.0 ± 2.0",
        "+1.0 ± 2.0 (noise)", "+2.0 ± 2.0 (noise)",
    ]  # fmt: skip
    assert table.caption.startswith(
        "Gain over the student alone by the size of the data, in points of accuracy on test: mean "
        "± deviation of 3 seeds. (noise): p of 0.05 or more"
    )


def test_gains_are_those_over_the_seeds_that_both_have() -> None:
    # Its lone seed was an easy one: 75 against the 71 of the student alone there.
    easy = row("hint", 0.75, alone=replace(against("student alone", 0.04, 0.2), sd=None))
    table = made(size_table(account(standing(rows=(easy, row("student_alone", 0.65))))))
    assert table.rows[0][2:] == ["65.0 ± 1.5", "+4.0 (noise)"]


def test_what_was_not_tested_is_no_gain_and_one_without_p_is_not_judged() -> None:
    untested = replace(against("student alone", 0.04, 0.2), p=None, corrected=None)
    rows = (row("hint", 0.7, alone=untested), row("logit_distillation", 0.7))
    table = made(size_table(account(standing(rows=(*rows, row("student_alone", 0.65))))))
    assert table.rows[0][3:] == [UNDEFINED, "+4.0 ± 2.0 (not judged)"]
    assert size_table(account(standing(rows=rows[:0]))) is None


def test_gains_of_areas_and_distances_have_no_points() -> None:
    for name, words in (("auroc", "in AUROC on test"), ("hd95_mm", "in mm of HD95 on test")):
        assert words in made(size_table(account(metric=name))).caption


def test_mean_gains_stand_by_foundation_model() -> None:
    table = made(teacher_table(account(standing(), standing(teacher="clip", shift=0.1))))
    assert table.head == ["", "vit", "clip", "all"]
    assert ["RD", "+4.0 ± 2.0", "+4.0 ± 2.0", "+4.0 ± 0.0 (2 of 2)"] in table.rows
    assert ["KD", *["+1.0 ± 2.0 (noise)"] * 2, "+1.0 ± 0.0 (noise)"] in table.rows
    assert "in how many of them it is no noise" in table.caption
    alone = made(teacher_table(account()))
    assert alone.caption.endswith("3 seeds. (noise): p of 0.05 or more, by Holm's method.")


def test_seeds_that_are_missing_are_told_in_every_table() -> None:
    one = standing()
    rows = tuple(
        replace(r, metrics={"accuracy": replace(r.metrics["accuracy"], seeds=2)})
        if r.entry in ("reprogramming_distillation", "student_alone") else r
        for r in one.rows
    )  # fmt: skip
    found = account(replace(one, rows=rows))
    assert made(methods_table(found)).rows[0][-1] == "69.0 ± 1.5 (2 of 3 seeds)"
    assert made(methods_table(found)).rows[0][3] == "75.9", "a frozen teacher has no seeds"
    assert made(ablation_table(found)).rows[1][1] == "69.0 ± 1.5 (2 of 3 seeds)"
    assert made(tuned_table(found)).rows[-1][-1] == "69.0 (seeds are missing)"
    assert made(size_table(found)).rows[0][2] == "65.0 ± 1.5 (2 of 3 seeds)"


def test_equals_stand_out_together_however_their_sum_was_made() -> None:
    level = sum([0.66, 0.63, 0.51]) / 3, sum([0.51, 0.63, 0.66]) / 3
    assert level[0] != level[1], "the order of the sum must matter"
    rows = (row("hint", level[0]), row("logit_distillation", level[1]), row("lora", 0.9))
    table = made(methods_table(account(standing(rows=rows))))
    assert [cell for cell in table.rows[0] if isinstance(cell, Best)] == ["60.0 ± 1.5"] * 2


def test_costs_name_each_network_once() -> None:
    table = made(cost_table(six_blocks()))
    assert [row[0] for row in table.rows] == ["vit", "shufflenet", "resnet18"]
    assert table.rows[0][1:] == ["85.8 M", "17.5 G", "343 MB", "101 ms"]


def test_training_is_measured_by_the_student_alone_unless_the_whole_model_was_tuned() -> None:
    table = made(training_table(account()))
    assert table.rows[0] == ["student alone", "52.0 ms", f"1.00{TIMES}", "412 MB", f"1.00{TIMES}"]
    assert table.rows[1][2] == f"1.37{TIMES}"
    assert "for no full fine-tuning of the foundation model competed." in table.caption
    whole = [replace(r, method="full_fine_tuning") if r.entry == "lora" else r
             for r in standing().rows]  # fmt: skip
    table = made(training_table(account(standing(rows=tuple(whole)))))
    assert table.caption.endswith("multiples of lora, full fine-tuning of the foundation model.")
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
    assert r"\begin{tabular}{lllllllll}" in text
    assert r"covid\_ct & shufflenet & vit & 75.9 & 78.0 $\pm$ 1.5 & 65.0 $\pm$ 1.5" in text
    assert r"\textbf{69.0 $\pm$ 1.5} \\" in text
    assert r"Accuracy in \% on test" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1


def test_markdown_has_the_same_with_stars() -> None:
    text = as_markdown({"methods": made(methods_table(account()))})
    assert "| covid_ct | shufflenet | vit | 75.9 | 78.0 ± 1.5 | 65.0 ± 1.5 |" in text
    assert "| **69.0 ± 1.5** |" in text


def test_a_large_network_beside_a_small_one_has_a_row_of_its_own() -> None:
    large = standing(student="resnet18")
    large = replace(large, rows=tuple(replace(row, cost=LARGE) for row in large.rows))
    rows = {row[0]: row for row in made(cost_table(account(standing(), large))).rows}
    assert rows["resnet18"][1] == "11.2 M"
