"""The form of the Medical Segmentation Decathlon: a dataset.json that lists pairs of files."""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from medistill.data.volumes.layouts.base import (
    Case,
    Values,
    VolumeLayout,
    channels_of,
    description,
    read_json,
    relative,
    stem,
    values_of,
)
from medistill.errors import UserError
from medistill.modalities import modality_of


class Msd(VolumeLayout):
    """A `dataset.json` with `training: [{image, label}]`; its `test` has no labels and is not read.

    Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022.
    """

    aliases: ClassVar[tuple[str, ...]] = ("decathlon",)
    rank: ClassVar[int] = 20

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A dataset.json that lists its training cases."""
        return isinstance(description(root).get("training"), list)

    def values(self) -> Values:
        """As `labels` names them, in the order of their numbers."""
        return values_of(self._told.get("labels", {}), self._file)

    def _listed(self) -> list[Case]:
        modalities = channels_of(self._told.get("modality"))
        if len(modalities) > 1:
            raise UserError(
                f"{self._file}: {len(modalities)} channels ({', '.join(map(str, modalities))}); "
                "medistill reads scans of one channel: save one of them in files of its own."
            )
        modality = modality_of(modalities[0] if modalities else None)
        return [self._case(row, modality) for row in self._told.get("training", [])]

    def _case(self, row: Any, modality: Any) -> Case:
        if not isinstance(row, dict) or not isinstance(row.get("image"), str):
            raise UserError(f"{self._file}: a training case is {row!r}, not an image and a label")
        label = row.get("label")
        return Case(
            name=stem(row["image"]),
            image=self._image(relative(row["image"], self.root)),
            label=relative(label, self.root) if label else None,
            modality=modality,
        )

    def _image(self, path: str) -> str:
        """As listed, or with the number of its channel, as nnU-Net's first version renamed it."""
        numbered = f"{path.removesuffix('.nii.gz')}_0000.nii.gz"
        renamed = not (self.root / path).exists() and (self.root / numbered).exists()
        return numbered if renamed else path

    @property
    def _file(self) -> Path:
        return self.root / "dataset.json"

    @cached_property
    def _told(self) -> dict[str, Any]:
        return read_json(self._file)
