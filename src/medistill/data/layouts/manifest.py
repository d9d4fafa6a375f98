"""A table (CSV) that lists the images and what is known of each."""

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar

from medistill.data.layouts.base import (
    Layout,
    Sample,
    check_task,
    files_with_suffix,
    first_few,
    split_in_cell,
)
from medistill.errors import UserError

Row = dict[str, str]


class Manifest(Layout):
    """A CSV table with columns path, label and, if known, split, patient and task.

    Paths are relative to the folder of the table. Separated by comma, semicolon or tab.

    Args:
        root: The table, or a folder with `manifest.csv` or a single table.
        task: Rows of which task to read; needed where the column names several.
    """

    aliases: ClassVar[tuple[str, ...]] = ("csv",)
    rank: ClassVar[int] = 20

    def __init__(self, root: Path, *, task: str | None = None) -> None:
        table = _table(root)
        if table is None:
            raise UserError(f"{root}: no manifest.csv, and not a single .csv to take for it")
        super().__init__(table.parent)
        self.table = table
        self.task = task

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A table that was named, is called `manifest.csv`, or is the only one and lists paths."""
        table = _table(root)
        if table is None:
            return False
        # Any other table may be about something else: scores, notes, a list of scanners.
        named = table == root or table.name.lower() == "manifest.csv"
        return named or {"path", "label"} <= set(_columns(table))

    def samples(self) -> list[Sample]:
        """One for each row of the table, in the order of paths; a repeated row stays repeated."""
        rows = self._of_task(list(self._rows()))
        samples = [self._sample(line, row) for line, row in rows]
        self._must_exist([sample.source for sample in samples])
        return sorted(samples, key=lambda s: (s.source, s.label or "", s.patient or ""))

    def _rows(self) -> Iterator[tuple[int, Row]]:
        columns = _columns(self.table)
        for name in ("path", "label"):
            if name not in columns:
                raise UserError(f"{self.table}: {_missing(name, columns)}")
        try:
            with self.table.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=_delimiter(self.table))
                next(reader)
                for cells in filter(any, reader):
                    yield reader.line_num, self._row(reader.line_num, columns, cells)
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{self.table}: not a CSV table in UTF-8 ({error})") from error

    def _row(self, line: int, columns: list[str], cells: list[str]) -> Row:
        # Spreadsheets drop empty cells at the end of a row.
        padded = [*cells, *[""] * len(columns)]
        if any(padded[len(columns) :]):
            raise UserError(f"{self._line(line)}: more cells than columns")
        return {name: cell.strip() for name, cell in zip(columns, padded, strict=False)}

    def _of_task(self, rows: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
        check_task(self.task, (row.get("task", "") for _, row in rows), self.table, "task")
        return [(line, row) for line, row in rows if self.task in (None, row.get("task", ""))]

    def _sample(self, line: int, row: Row) -> Sample:
        # Tables written on Windows separate folders by a backslash.
        source = PurePosixPath(row["path"].replace("\\", "/")).as_posix()
        if not row["path"]:
            raise UserError(f"{self._line(line)}: the path is empty")
        split = split_in_cell(row.get("split", ""), self._line(line))
        if "|" in row["label"]:
            label = row["label"]
            raise UserError(f"{self._line(line)}: {label!r} is multi-label; not supported yet")
        return Sample(source, row["label"] or None, split, row.get("patient") or None)

    def _line(self, number: int) -> str:
        return f"{self.table}, line {number}"

    def _must_exist(self, sources: list[str]) -> None:
        missing = [
            source for source in dict.fromkeys(sources) if not (self.root / source).is_file()
        ]
        if missing:
            count = f"{len(missing)} of {len(sources)} files"
            raise UserError(f"{self.table}: {count} are not in {self.root}: {first_few(missing)}")


def _table(root: Path) -> Path | None:
    tables = files_with_suffix(root, ".csv")
    named = [table for table in tables if table.name.lower() == "manifest.csv"]
    return (named or tables)[0] if named or len(tables) == 1 else None


def _header(table: Path) -> str:
    with table.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().rstrip("\r\n")


def _delimiter(table: Path) -> str:
    header = _header(table)
    # A spreadsheet in a country with decimal commas separates cells by semicolons.
    return max(",;\t", key=header.count)


def _columns(table: Path) -> list[str]:
    header = next(csv.reader([_header(table)], delimiter=_delimiter(table)), [])
    return [name.strip().lower() for name in header]


def _missing(name: str, columns: list[str]) -> str:
    hint = " A column per finding (multi-label) is not supported yet." if name == "label" else ""
    return f"no column {name!r}, only {', '.join(columns) or 'an empty first line'}.{hint}"
