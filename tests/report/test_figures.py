"""Figures that follow the page's colours, and say in words what they show."""

import re

import numpy as np
import pytest

from medistill.report.canvas import LONGEST, VARIABLES, short
from medistill.report.curves import Bin, Roc
from medistill.report.figures import (
    Line,
    histogram,
    intervals,
    lines,
    reliability_diagram,
    roc_curves,
)
from medistill.report.markup import Html
from medistill.report.style import STYLE

from .reading import read

STRANGE = ["<script>", "$x_{", "图像", "a & b", "_hidden", "x" * 60]


def label(svg: Html) -> str:
    (found,) = read(svg).all("svg")
    return str(found["aria-label"])


def curve(name: str) -> Roc:
    return Roc(name, 0, np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.9, 1.0]))


def test_colours_are_the_page_s_variables_and_no_others() -> None:
    svg = roc_curves([curve("a")], (0.2, 0.8))
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert "var(--series-0)" in svg
    assert "var(--ink)" in svg


@pytest.mark.parametrize("variable", VARIABLES.values())
def test_every_variable_has_a_value_by_day_by_night_and_on_paper(variable: str) -> None:
    assert STYLE.count(f"--{variable}:") == 3


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_are_text(name: str) -> None:
    for svg in (
        roc_curves([curve(name)]),
        histogram({name: ("#010102", np.array([0.2, 0.4]))}, f"probability of {name}"),
        lines([Line(name, [1, 2], [0.5, 0.4]), Line("b", [1, 2], [0.5, 0.4])], name),
        intervals({name: [(0, name, {"value": 0.5, "low": 0.4, "high": None})]}),
    ):
        found = read(svg)
        assert not found.unbalanced
        assert not found.all("script")
        assert name in label(svg)


def test_long_names_leave_room_for_others() -> None:
    assert short("abc") == "abc"
    assert len(short("x" * 60)) == LONGEST


def test_words_hold_the_numbers() -> None:
    assert label(roc_curves([curve("RD")], (0.2, 0.8))) == (
        "ROC curves; area under the curve: RD 0.700. The threshold finds 80% with 20% false alarms."
    )
    bins = [Bin(0.25, 0.5, 0.3, 0.7, 12)]
    assert label(reliability_diagram(bins, "a", "b")) == (
        "Reliability by bin: 25% stated, 50% true (12)."
    )
    spread = histogram(
        {"yes": ("#010102", np.array([0.2, 0.4])), "no": ("#010102", np.array([]))}, "p"
    )
    assert label(spread) == "Histogram of the p. yes: 2 images, median 0.30."


def test_curves_say_where_they_begin_and_end_and_which_epoch_was_chosen() -> None:
    svg = lines([Line("student", [1, 2, 3], [0.9, float("nan"), 0.3])], "loss", chosen=2)
    assert label(svg) == "Loss over the epochs: student from 0.9 to 0.3. The chosen epoch is 2."


def test_one_epoch_is_a_dot() -> None:
    assert "<use" in lines([Line("student", [1], [0.9])], "loss")


def test_empty_curve_is_said_to_be_unknown() -> None:
    assert "student unknown" in label(lines([Line("student", [1], [float("nan")])], "loss"))
