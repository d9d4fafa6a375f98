"""Drawings that are at home in a page."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medistill.report.canvas import (
    DASHES,
    INK,
    LONGEST,
    MARKERS,
    SERIES,
    VARIABLES,
    drawn,
    legend,
    look,
    named_rows,
    short,
)

from .reading import read


def line(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=INK, label="a & <b>")
    axes.set_title("a & <b>")


@given(st.text())
def test_short_names_stay_and_long_ones_begin_alike_and_end_in_dots(name: str) -> None:
    told = short(name)
    assert len(told) <= LONGEST
    assert told == name or (told.endswith("…") and name.startswith(told[:-1]))
    assert short(told) == told


def test_lines_are_told_apart_by_colour_and_dashes_together() -> None:
    looks = [(one["color"], str(one["linestyle"])) for one in map(look, range(12))]
    assert len(set(looks)) == 12
    marked = {(*one, MARKERS[number % len(MARKERS)]) for number, one in enumerate(
        (one["color"], str(one["linestyle"])) for one in map(look, range(40)))}  # fmt: skip
    assert len(marked) == 40
    assert looks[0][0] == looks[len(SERIES)][0]
    assert look(1)["linestyle"] == look(1 + len(DASHES))["linestyle"]


def test_no_colour_is_a_part_of_another() -> None:
    assert all(a == b or a not in b for a in VARIABLES for b in VARIABLES)


def test_legend_shortens_names_and_leaves_nobody_out() -> None:
    axes = Figure().subplots()
    for name in ("x" * 40, "b"):
        axes.plot([0, 1], label=name)
    legend(axes)
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == [f"{'x' * (LONGEST - 1)}…", "b"]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_rows_stand_from_above_with_room_around_each(count: int) -> None:
    axes = Figure().subplots()
    named_rows(axes, [f"row {place}" for place in range(count)])
    assert next(label.get_text() for label in axes.get_yticklabels()) == "row 0"
    below, above = axes.get_ylim()
    assert (below, above) == (count - 0.5, -0.5)


@pytest.fixture(scope="module")
def svg() -> str:
    return drawn(line, 'what "it" tells & <shows>', size=(2.0, 1.0))


class TestDrawn:
    def test_it_is_one_figure_with_words(self, svg: str) -> None:
        found = read(svg)
        (tag,) = found.all("svg")
        assert not found.unbalanced
        assert tag["aria-label"] == 'what "it" tells & <shows>'
        assert (tag["role"], tag["viewbox"]) == ("img", "0 0 144 72")

    def test_it_says_nothing_of_who_drew_it_and_when(self, svg: str) -> None:
        assert not re.search(r"matplotlib|metadata|<!|xmlns|https?:", svg)

    def test_text_stays_text_in_the_font_of_the_page(self, svg: str) -> None:
        assert "a &amp; &lt;b&gt;</text>" in svg
        assert "DejaVu" not in svg
        assert "var(--sans)" in svg

    def test_the_same_drawing_is_the_same_text_and_others_share_no_name_with_it(
        self, svg: str
    ) -> None:
        def again(alt: str) -> Any:
            return drawn(line, alt, size=(2.0, 1.0))

        assert again('what "it" tells & <shows>') == svg
        known = set(re.findall(r' id="([^"]*)"', svg))
        assert known
        assert not known & set(re.findall(r' id="([^"]*)"', again("another")))
