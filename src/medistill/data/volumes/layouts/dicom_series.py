"""Folders of DICOM slices: each series is a scan."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

from medistill.data.formats import is_clutter
from medistill.data.volumes.layouts.base import (
    Case,
    Values,
    VolumeLayout,
    read_json,
    values_of,
)
from medistill.errors import UserError
from medistill.modalities import modality_of
from medistill.series import holds_series, modality_in, patient_in, places_in, series_in

_NAMES = "labels.json"
_LOOKED_AT = 3  # slices of a folder: enough to see that they are of one series


class DicomSeries(VolumeLayout):
    """A folder for each series, sorted by where slices lie; masks beside or in it as NIfTI.

    The mask of `head/` is `head.nii.gz`, or `head/label.nii.gz`; `labels.json` at the root says
    which value means what. Patients are known by a hash of their identifiers.
    """

    aliases: ClassVar[tuple[str, ...]] = ("dicom",)
    rank: ClassVar[int] = 50

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Every folder with DICOM files holds slices of one series, at different places."""
        folders = list(_folders(root)) if root.is_dir() else []
        return bool(folders) and all(_one_series(folder) for folder in folders)

    def values(self) -> Values:
        """As `labels.json` names them; none without it."""
        names = self.root / _NAMES
        if names.is_file():
            return values_of(read_json(names), names)
        if any(case.label for case in self._listed()):
            raise UserError(f'{names}: is missing; it names the values of masks: {{"1": "liver"}}')
        return {}

    def _listed(self) -> list[Case]:
        return [case for folder in _folders(self.root) for case in self._of_folder(folder)]

    def _of_folder(self, folder: Path) -> list[Case]:
        try:
            found = series_in(folder)
        except ValueError as error:
            raise UserError(f"{folder}: {error}") from error
        source = folder.relative_to(self.root).as_posix()
        # In the folder first: a file beside it may be the scan itself, converted.
        beside = [folder / "label.nii.gz", folder.with_name(f"{folder.name}.nii.gz")]
        labels = [path.relative_to(self.root).as_posix() for path in beside if path.is_file()]
        return [
            Case(
                name=f"{source}#{name}" if len(found) > 1 else source,
                image=f"{source}#{name}",
                # A mask says nothing of which series it belongs to.
                label=labels[0] if labels and len(found) == 1 else None,
                patient=patient_in(files[0]) or None,
                modality=modality_of(modality_in(files[0])),
            )
            for name, files in found.items()
        ]


def _folders(root: Path) -> Iterator[Path]:
    for parent, folders, _ in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        if holds_series(Path(parent)):
            yield Path(parent)


def _one_series(folder: Path) -> bool:
    try:
        places = list(islice(places_in(folder), _LOOKED_AT))
    except ValueError:
        return False
    series = {name for name, _ in places}
    return len(series) == 1 and "" not in series and len(set(places)) == len(places) > 1
