"""A table (CSV) that lists scans with their masks and what is known of each."""

import csv
from contextlib import suppress
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import ClassVar

import numpy as np

from medistill.data.formats import VOLUME_SUFFIXES
from medistill.data.layouts.base import files_with_suffix, split_in_cell
from medistill.data.volumes.layouts.base import (
    LARGEST,
    Case,
    Values,
    VolumeLayout,
    class_name,
    read_json,
    relative,
    stem,
    values_of,
)
from medistill.errors import UserError
from medistill.modalities import modality_of
from medistill.scans import UnreadableScan

_NAMES = "labels.json"
_SYNONYMS = {"path": "image", "mask": "label"}


class VolumeManifest(VolumeLayout):
    """A CSV table with columns image and label; if known, region, patient, split and modality.

    `path` and `mask` are other words for the first two.
    Paths are relative to the folder of the table. `labels.json` beside it says which value means
    what, as {"1": "liver"}; without it classes are called by their values, as found in the files.
    """

    aliases: ClassVar[tuple[str, ...]] = ("manifest", "csv")
    rank: ClassVar[int] = 40

    def __init__(self, root: Path, *, task: str | None = None) -> None:
        table = _table(root)
        if table is None:
            raise UserError(f"{root}: no manifest.csv, and not a single .csv to take for it")
        super().__init__(table.parent, task=task)
        self.table = table

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A table with columns image and label, whose images are volumes."""
        table = _table(root)
        if table is None:
            return False
        rows = _rows(table)
        return bool(rows) and "label" in rows[0] and _is_volume(table.parent, rows[0].get("image"))

    def values(self) -> Values:
        """As `labels.json` names them, else by the values in the files."""
        names = self.root / _NAMES
        if names.is_file():
            told = read_json(names)
            return values_of(told.get("labels", told), names)
        return {f"{self.root.name} {value}": (value,) for value in self._found_values}

    @cached_property
    def _found_values(self) -> list[int]:
        found: set[int] = set()
        for case in self.cases():
            # A damaged label names no class; `check` lists it with whatever else is unreadable.
            with suppress(UnreadableScan):
                for scan in self.read_label(case):
                    # Not by `unique` of the rounded volume: that would copy all of it once more.
                    found |= {round(v) for v in np.unique(scan.pixels).tolist() if np.isfinite(v)}
        return sorted(value for value in found if 0 < value <= LARGEST)

    def _listed(self) -> list[Case]:
        return [self._case(line, row) for line, row in enumerate(_rows(self.table), 2)]

    def _case(self, line: int, row: dict[str, str]) -> Case:
        where = f"{self.table}, line {line}"
        if not row.get("image"):
            raise UserError(f"{where}: the column `image` is absent or empty")
        return Case(
            name=stem(row["image"]),
            image=relative(row["image"], self.root),
            label=relative(row["label"], self.root) if row.get("label") else None,
            patient=row.get("patient") or None,
            split=split_in_cell(row.get("split", ""), where),
            modality=modality_of(row.get("modality")),
            region=class_name(row.get("region", "")),
        )


def _table(root: Path) -> Path | None:
    tables = files_with_suffix(root, ".csv")
    named = [table for table in tables if table.name.lower() == "manifest.csv"]
    return (named or tables)[0] if named or len(tables) == 1 else None


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
        lines = text.splitlines()
        # A spreadsheet in a country with decimal commas separates cells by semicolons.
        delimiter = max(",;\t", key=lines[0].count) if lines else ","
        cells = [row for row in csv.reader(lines, delimiter=delimiter) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: not a CSV table in UTF-8 ({error})") from error
    told = [name.strip().lower() for name in cells[0]] if cells else []
    names = [_SYNONYMS.get(name, name) for name in told]
    # A row may end before its last, empty cells.
    return [
        dict(zip(names, chain((c.strip() for c in row), repeat("")), strict=False))
        for row in cells[1:]
    ]


def _is_volume(root: Path, image: str | None) -> bool:
    return bool(image) and (
        str(image).lower().endswith(VOLUME_SUFFIXES) or (root / str(image)).is_dir()
    )
