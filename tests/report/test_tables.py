"""Tables as the terminal, a README and the page show them."""

from pathlib import Path

from medistill.report.markup import Html
from medistill.report.tables import Table, markdown, results_table

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
