"""A list with one JSON object a line, as the SAT papers use: each scan names what it shows."""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from medistill.data.layouts.base import files_with_suffix, official_split
from medistill.data.volumes.layouts.base import (
    Case,
    Values,
    VolumeLayout,
    all_known,
    class_name,
    relative,
    stem,
)
from medistill.errors import UserError
from medistill.modalities import modality_of


class SatJsonl(VolumeLayout):
    """Lines of `image`, `label` (names), `mask`; and `modality`, `dataset`, and others if known.

    A mask is a label map with 1, 2, ... in the order of the names, a file with a channel for each
    of them, or a folder with a file of each name. Paths start from the folder of the list. Cases
    may name different classes: of the others nothing is known there. Others are `region`,
    `patient` and `split`. Each `dataset` is drawn and averaged as one, though a list joins several.
    Scans are turned to RAS whatever `orientation_code` says; a finding tells of it.
    Zhao et al., One Model to Rule them All: Towards Universal Segmentation, 2023.
    """

    aliases: ClassVar[tuple[str, ...]] = ("sat", "jsonl")
    rank: ClassVar[int] = 30

    def __init__(self, root: Path, *, task: str | None = None) -> None:
        files = files_with_suffix(root, ".jsonl")
        if len(files) != 1:
            names = ", ".join(path.name for path in files) or "none"
            raise UserError(
                f"{root}: one .jsonl is needed, there are: {names}; name it as the root"
            )
        super().__init__(files[0].parent, task=task)
        self.file = files[0]

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A .jsonl file, or a folder with a single one."""
        return len(files_with_suffix(root, ".jsonl")) == 1

    def values(self) -> Values:
        """Every class that some case of the region names, by letters."""
        return self._values

    @cached_property
    def _values(self) -> Values:
        names = sorted({name for case in self._of_task(self._all) for name in case.classes})
        return {name: (place + 1,) for place, name in enumerate(names)}

    def values_in(self, case: Case) -> Values:
        """1, 2, ... in the order in which the case names them."""
        return {name: (place + 1,) for place, name in enumerate(case.classes)}

    def _listed(self) -> list[Case]:
        return self._all

    @cached_property
    def _all(self) -> list[Case]:
        return [self._case(f"{self.file}, line {number}", row) for number, row in self._rows()]

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        # utf-8-sig: an editor of Windows begins a file with a mark that JSON does not know.
        for number, line in enumerate(self.file.read_text(encoding="utf-8-sig").splitlines(), 1):
            if line.strip():
                try:
                    yield number, dict(json.loads(line))
                except (ValueError, TypeError) as error:
                    raise UserError(f"{self.file}, line {number}: no JSON object") from error

    def _case(self, where: str, row: dict[str, Any]) -> Case:
        image, names = _named(where, row)
        split = official_split(str(row.get("split", "")))
        if row.get("split") and split is None:
            raise UserError(f"{where}: split {row['split']!r} is none of train, validation, test")
        label, masks = self._masks(row.get("mask"), names)
        return Case(
            name=stem(image),
            image=relative(image, self.root),
            label=label,
            masks=masks,
            classes=all_known(names),
            patient=str(row["patient"]) if row.get("patient") else None,
            split=split,
            modality=modality_of(row.get("modality")),
            region=class_name(str(row.get("region") or "")),
            dataset=class_name(str(row.get("dataset") or "")),
            orientation=str(row.get("orientation_code") or "").strip().upper(),
        )

    def _masks(self, told: Any, names: list[Any]) -> tuple[str | None, tuple[str, ...]]:
        if not told:
            return None, ()
        if isinstance(told, list):
            return None, tuple(relative(path, self.root) for path in told)
        path = relative(told, self.root)
        if (self.root / path).is_dir():
            return None, tuple(f"{path}/{name}.nii.gz" for name in names)
        return path, ()


def _named(where: str, row: dict[str, Any]) -> tuple[str, list[Any]]:
    """The image of a row, and the names in its mask."""
    image, names = row.get("image"), row.get("label", [])
    if not isinstance(image, str) or not image or not isinstance(names, list):
        raise UserError(f"{where}: an `image`, and a list of names as `label`, are needed")
    # The place of a name is its number in the mask: two of one class would shift the others.
    if len(all_known(names)) < len(names) or (row.get("mask") and not names):
        raise UserError(f"{where}: `label` is {names!r}; name each class in the mask once")
    return image, names
