"""Tables that TeX and Markdown read as they were meant."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.report.rivals.latex import SPECIAL, as_markdown, latex
from medistill.report.rivals.tables import DAGGER, Best
from medistill.report.tables import Table
from medistill.report.wording import UNDEFINED

CELLS = st.lists(
    st.text(st.sampled_from("ab \\&%$#_{}~^[]*<>|±"), max_size=6), min_size=3, max_size=3
)


def body(*rows: list[str]) -> list[str]:
    """Lines of the rows of a table in LaTeX."""
    lines = latex({"t": Table(["a", "b", "c"], rows)}).splitlines()
    return lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]


@given(CELLS)
def test_every_row_of_latex_has_as_many_cells_as_its_head(cells: list[str]) -> None:
    (line,) = body(cells)
    assert line.endswith(r" \\")
    assert len(re.split(r"(?<!\\)&", line)) == 3


@given(CELLS)
def test_letters_that_tex_minds_have_become_commands(cells: list[str]) -> None:
    (line,) = body(cells)
    text = line.removesuffix(r" \\")
    assert all(told in text for letter, told in SPECIAL.items() if letter in "".join(cells))
    assert not re.search(r"(?<!\\)[%#_]|(?<!{)[\[\]*]", text)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


@pytest.mark.parametrize("first", ["[a]", "*"])
def test_row_that_begins_like_an_option_is_none(first: str) -> None:
    # TeX looks behind \\ and \midrule, over the end of the line, for [length] or a star.
    assert all(re.match(r"{[\[*]}", line) for line in body([first, "", ""], [first, "", ""]))


def test_signs_of_the_report_have_commands() -> None:
    (line,) = body([f"1.0 ± 0.2{DAGGER}", UNDEFINED, "a < b > c | d"])
    assert line == (
        r"1.0 $\pm$ 0.2$\dagger$ & -- & a \textless{} b \textgreater{} c \textbar{} d \\"
    )


def test_tables_follow_one_another_each_with_its_label_and_caption() -> None:
    text = latex({"one": Table(["a"], [], "50 % & more"), "two": Table(["a"], [[Best("_")]])})
    assert re.findall(r"\\label{tab:(\w+)}", text) == ["one", "two"]
    assert r"\caption{50 \% \& more}" in text
    assert r"\textbf{\_} \\" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2


def test_of_no_table_there_is_an_empty_file() -> None:
    assert latex({}) == as_markdown({}) == "\n"


@given(st.lists(st.text(st.sampled_from("ab \\|\n\r*"), max_size=6), min_size=3, max_size=3))
def test_every_row_of_markdown_is_one_line_of_as_many_cells(cells: list[str]) -> None:
    text = as_markdown({"t": Table(["a", "b", "c"], [cells], "what")})
    caption, blank, head, rule, row, *rest = text.split("\n")
    assert (caption, blank, rule, rest) == ("what", "", "| --- | --- | --- |", [""])
    # A bar counts unless an odd number of backslashes stands before it.
    bars = re.findall(r"(?<!\\)(?:\\\\)*\|", row)
    assert len(bars) == len(re.findall(r"\|", head)) == 4


def test_best_of_a_row_of_markdown_is_bold_with_its_bars_escaped() -> None:
    text = as_markdown({"t": Table(["a", "b"], [["x", Best("1|2")]], "what")})
    assert text.endswith("| x | **1\\|2** |\n")
