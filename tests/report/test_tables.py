"""Tables as the terminal, a README and the page show them."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from medistill.report.comparison import Contender
from medistill.report.markup import Html
from medistill.report.tables import (
    Table,
    class_table,
    keys,
    markdown,
    metric_table,
    results_table,
)
from medistill.results import Estimate

from . import folders
from .reading import read


class TestResultsTable:
    def test_rows_are_plain_text_under_one_head(self, tmp_path: Path) -> None:
        head, *rows = results_table(folders.binary(tmp_path / "rd"))
        assert head == ["task", "metric (test)", "student", "teacher (probe)"]
        assert rows[0] == ["covid_ct", "Accuracy", "79.3 % (73.2 to 85.1)", "75.2 % (69.1 to 81.0)"]
        assert all(type(cell) is str and len(row) == len(head) for row in rows for cell in row)

    def test_network_that_was_not_judged_has_an_empty_column(self, tmp_path: Path) -> None:
        run = folders.several_tasks(tmp_path / "rd")
        other = folders.binary(tmp_path / "student")
        head, *rows = results_table(run, [other])
        assert head[2:] == ["student", "student"]
        assert {row[3] for row in rows if row[0] == "busi"} == {"\N{EN DASH}"}
        assert {row[3] for row in rows if row[0] == "covid_ct"} != {"\N{EN DASH}"}

    def test_run_without_metrics_has_a_head_alone(self, tmp_path: Path) -> None:
        assert len(results_table(folders.interrupted(tmp_path / "run"))) == 1

    def test_whole_task_comes_before_its_classes(self, tmp_path: Path) -> None:
        rows = results_table(folders.four_classes(tmp_path / "run"))
        assert rows[-1][1] == "Specificity, neutrophil"
        assert rows[1][1] == "Accuracy"


class TestMarkdown:
    def test_bars_in_cells_are_escaped(self) -> None:
        assert markdown([["a", "b"], ["x|y", "1"]]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |"

    def test_nothing_makes_nothing(self) -> None:
        assert markdown([]) == ""


class TestHtml:
    def test_cells_are_escaped_and_markup_is_kept(self) -> None:
        table = Table(["", "<i>"], [["a & b", Html("<b>1</b>")]], "what")
        found = read(table.html())
        assert "a & b 1" in found.text
        assert [tag for tag, _ in found.tags].count("b") == 1
        assert "<i>" in found.text

    def test_first_column_and_head_are_headers(self) -> None:
        scopes = [a["scope"] for a in read(Table(["", "x"], [["a", "1"]]).html()).all("th")]
        assert scopes == ["col", "col", "row"]


class TestHead:
    def test_two_networks_of_one_name_keep_their_columns(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "rd")
        head, *rows = results_table(run, [folders.binary(tmp_path / "student")])
        assert head[2:] == ["student", "teacher (probe)", "student"]
        assert {len(row) for row in rows} == {5}

    def test_metrics_of_the_whole_task_come_first_whoever_has_them(self) -> None:
        estimate = {"value": 0.5, "low": None, "high": None}
        first = Contender("a", "", 0, {"sensitivity/x": estimate, "brier": estimate})
        other = Contender("b", "", 2, {"accuracy": estimate})
        assert keys([first, other]) == ["accuracy", "brier", "sensitivity/x"]
        assert keys([]) == []


class TestCells:
    def table(self, estimate: Estimate, key: str = "brier") -> str:
        return read(metric_table([Contender("a", "", 0, {key: estimate})], [key], "").html()).text

    def test_lower_is_better_is_said_where_it_is(self) -> None:
        assert "lower is better" in self.table({"value": 0.5, "low": None, "high": None})
        assert "better" not in self.table({"value": 0.5, "low": 0.4, "high": 0.6}, "auroc")

    def test_undefined_value_is_a_dash(self) -> None:
        told = self.table({"value": None, "low": None, "high": None}, "auroc")
        assert told.endswith("0.5 is chance \N{EN DASH}\n")

    def test_network_without_the_metric_has_a_dash(self) -> None:
        found = [Contender("a", "", 0, {}), Contender("b", "note", 2, {})]
        assert read(class_table(found, ["x"], ("dice",)).html()).text.endswith(
            "x \N{EN DASH} \N{EN DASH}\n"
        )

    def test_metric_that_nobody_foresaw_is_spelled_out(self) -> None:
        told = self.table({"value": 0.5, "low": None, "high": None}, "mean_depth")
        assert "\nMean depth 0.500\n" in told


def test_table_of_no_rows_has_its_head() -> None:
    found = read(Table(["a", "b"], []).html("x"))
    assert found.text.split() == ["a", "b"]
    assert not found.unbalanced
    assert found.all("div")[0]["class"] == "scroll x"


@given(
    st.lists(st.lists(st.text(st.sampled_from("a|\\\n\r ")), min_size=2, max_size=2), min_size=1)
)
def test_rows_of_markdown_are_lines_of_as_many_cells(rows: list[list[str]]) -> None:
    lines = markdown(rows).split("\n")
    assert len(lines) == len(rows) + 1
    # A bar counts unless an odd number of backslashes stands before it.
    bars = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines]
    assert set(bars) == {3}
