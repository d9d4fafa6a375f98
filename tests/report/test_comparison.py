"""Which networks are compared, and when their difference counts."""

from dataclasses import replace
from pathlib import Path

import pytest

from medistill.report.comparison import contenders, distinguishable, shared_samples
from medistill.report.evidence import Evidence

from . import folders


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0.01, 0.02, True), (-0.02, -0.01, True), (-0.01, 0.02, False), (0.0, 0.02, False),
     (None, 0.02, None)],
)  # fmt: skip
def test_difference_counts_when_its_interval_leaves_zero_out(
    low: float | None, high: float | None, wanted: bool | None
) -> None:
    assert distinguishable({"low": low, "high": high}) is wanted


def test_order_of_the_samples_does_not_matter() -> None:
    table = folders.table(count=20)
    turned = replace(table, samples=table.samples[::-1], targets=table.targets[::-1])
    assert shared_samples(table, turned).same


def test_sample_that_lies_twice_in_one_run_is_missed_in_the_other() -> None:
    table = folders.table(count=20)
    twice = replace(table, samples=(table.samples[1], *table.samples[1:]))
    assert not shared_samples(table, twice).same


def test_series_stay_with_their_networks_when_there_is_no_teacher(tmp_path: Path) -> None:
    run = Evidence(folders.write_run(tmp_path / "rd", [folders.table()], teacher=None))
    other = Evidence(folders.binary(tmp_path / "kd", method="logit_distillation"))
    found = contenders(run, [other], "covid_ct")
    assert [(one.name, one.note, one.series) for one in found] == [
        ("student", "reprogramming distillation", 0), ("kd", "logit distillation", 2),
    ]  # fmt: skip
