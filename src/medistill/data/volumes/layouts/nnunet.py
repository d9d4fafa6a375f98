"""The raw form of nnU-Net v2: imagesTr, labelsTr and a dataset.json with channel names."""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from medistill.data.formats import is_clutter
from medistill.data.volumes.layouts.base import (
    Case,
    Values,
    VolumeLayout,
    channels_of,
    description,
    read_json,
    relative,
    values_of,
)
from medistill.errors import UserError
from medistill.modalities import modality_of

_ENDINGS = (".nii.gz", ".nii")


class Nnunet(VolumeLayout):
    """`imagesTr/{case}_0000.nii.gz` with `labelsTr/{case}.nii.gz`; `imagesTs` where it has labels.

    Isensee et al., nnU-Net, Nature Methods 2021; the form of its version 2.
    """

    aliases: ClassVar[tuple[str, ...]] = ("nnunet_raw", "nnunet_v2")
    rank: ClassVar[int] = 10

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A dataset.json that names channels, beside imagesTr or a list of files."""
        told = description(root)
        return "channel_names" in told and ((root / "imagesTr").is_dir() or "dataset" in told)

    def values(self) -> Values:
        """As `labels` names them, in the order of their numbers; a list of numbers is a region."""
        return values_of(self._told.get("labels", {}), self._file)

    def _listed(self) -> list[Case]:
        channels = channels_of(self._told.get("channel_names"))
        if len(channels) > 1:
            named = ", ".join(map(str, channels))
            raise UserError(
                f"{self._file}: {len(channels)} channels ({named}); medistill reads scans of one "
                "channel: make a data set of one of them."
            )
        modality = modality_of(channels[0] if channels else None)
        if isinstance(self._told.get("dataset"), dict):
            return [self._named(name, row, modality) for name, row in self._told["dataset"].items()]
        return [*self._found("Tr", None, modality), *self._found("Ts", "test", modality)]

    def _found(self, part: str, split: str | None, modality: Any) -> list[Case]:
        # Its readers for other formats exist; their spacings stand elsewhere than in the file.
        ending = str(self._told.get("file_ending", ".nii.gz"))
        if ending not in _ENDINGS:
            raise UserError(f"{self._file}: file_ending {ending!r}; only NIfTI is read")
        images, labels = self.root / f"images{part}", self.root / f"labels{part}"
        if not images.is_dir() or (split and not labels.is_dir()):
            return []
        scans = {p.name.removesuffix(f"_0000{ending}") for p in _files(images, f"*_0000{ending}")}
        masks = {p.name.removesuffix(ending) for p in _files(labels, f"*{ending}")}
        # A mask without a scan is named too, so that the scan is missed.
        return [
            Case(
                name,
                image=f"{images.name}/{name}_0000{ending}",
                label=f"{labels.name}/{name}{ending}" if name in masks else None,
                split=split,
                modality=modality,
            )
            for name in sorted(scans | masks)
        ]

    def _named(self, name: str, row: Any, modality: Any) -> Case:
        images = row.get("images") if isinstance(row, dict) else None
        if not isinstance(images, list) or len(images) != 1:
            raise UserError(f"{self._file}: case {name!r} is {row!r}; one of `images` is needed")
        label = relative(row["label"], self.root) if row.get("label") else None
        return Case(name, relative(images[0], self.root), label, modality=modality)

    @property
    def _file(self) -> Path:
        return self.root / "dataset.json"

    @cached_property
    def _told(self) -> dict[str, Any]:
        return read_json(self._file)


def _files(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob(pattern) if not is_clutter(path.name)]
