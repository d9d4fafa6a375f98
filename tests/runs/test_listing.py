"""Shelves of what there is, as a pipe and as a terminal see them."""

import pytest

from medistill import catalog
from medistill.runs.listing import PIPED, listing, released

METHODS = catalog.available("medistill.methods")


def lines(capsys: pytest.CaptureFixture[str], what: str) -> list[str]:
    listing(what)
    found: list[str] = capsys.readouterr().out.splitlines()
    return found


def test_in_a_pipe_every_method_is_one_line_that_begins_with_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    header, *rows = lines(capsys, "methods")
    assert header.split()[:3] == ["method", "also", "volumes"]
    assert [row.split()[0] for row in rows] == METHODS
    assert max(map(len, rows)) <= PIPED


def test_on_a_narrow_terminal_no_name_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    said = lines(capsys, "methods")
    assert {line.split()[0] for line in said if line and line[0] != " "} >= set(METHODS)


def test_two_tables_of_a_shelf_stand_apart(capsys: pytest.CaptureFixture[str]) -> None:
    said = lines(capsys, "layouts")
    headers = [place for place, line in enumerate(said) if line.startswith("layout of")]
    assert len(headers) == 2
    assert said[headers[1] - 1] == ""


def test_every_released_model_says_its_terms_its_file_and_its_paper() -> None:
    rows = released()
    assert len({row[0] for row in rows}) == len(rows) > 0
    for name, also, *told in rows:
        assert all(text and "\n" not in text for text in told), name
        assert "\n" not in also
    assert "pmcclip" in {also for _, also, *_ in rows}
