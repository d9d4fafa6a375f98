"""The `.npz` files of MedMNIST: arrays of images and labels for each official split."""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from medistill.data.layouts.base import Layout, Sample, files_with_suffix, official_split
from medistill.data.picture import Picture, decode_array
from medistill.errors import UserError


class Medmnist(Layout):
    """An array file of MedMNIST, or a folder with one of them; classes are the numbers inside."""

    rank: ClassVar[int] = 10

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """An `.npz` file, or a folder that holds one."""
        return bool(files_with_suffix(root, ".npz"))

    def __init__(self, root: Path, *, task: str | None = None) -> None:
        super().__init__(root, task=task)
        files = files_with_suffix(root, ".npz")
        if len(files) != 1:
            names = ", ".join(path.name for path in files)
            raise UserError(
                f"{root}: holds {len(files)} .npz files ({names}); name one as the root"
            )
        self.file = files[0]

    def samples(self) -> list[Sample]:
        """Every image of every split, in the order of the file."""
        samples = []
        for part, split in self._parts.items():
            labels = self._labels(part)
            samples += [
                Sample(f"{self.file.name}#{part}/{row}", str(label), split)
                for row, label in enumerate(labels)
            ]
        return samples

    def read(self, sample: Sample) -> Picture:
        """The image of one sample, from the array of its split."""
        part, _, row = sample.source.rpartition("#")[2].partition("/")
        return decode_array(self._images[part][int(row)])

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        # A pickle inside would be executed on loading; numpy refuses it unless told otherwise.
        try:
            with np.load(self.file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise UserError(f"{self.file}: cannot be read as an array file ({error})") from error

    @cached_property
    def _parts(self) -> dict[str, str]:
        names = [name.removesuffix("_images") for name in self._arrays if name.endswith("_images")]
        parts = {name: official_split(name) for name in sorted(names)}
        known = {name: split for name, split in parts.items() if split is not None}
        if not known:
            held = ", ".join(self._arrays)
            raise UserError(
                f"{self.file}: no train_images, val_images or test_images; holds {held}"
            )
        return known

    @cached_property
    def _images(self) -> dict[str, NDArray[Any]]:
        images = {part: self._arrays[f"{part}_images"] for part in self._parts}
        for part, array in images.items():
            if not _holds_pictures(array):
                shape = f"{part}_images has shape {array.shape}"
                raise UserError(
                    f"{self.file}: {shape}, not (N, height, width[, 3]): 2D images only"
                )
        return images

    def _labels(self, part: str) -> NDArray[Any]:
        images, labels = self._images[part], self._arrays.get(f"{part}_labels")
        if labels is None or len(labels) != len(images):
            count = "no" if labels is None else len(labels)
            raise UserError(f"{self.file}: {len(images)} {part}_images but {count} {part}_labels")
        # Most sets of MedMNIST hold labels as (N, 1), older files as (N,).
        if labels.size != len(labels):
            width = labels.shape[1]
            raise UserError(
                f"{self.file}: {width} labels an image; multi-label is not supported yet"
            )
        return labels.reshape(-1)


def _holds_pictures(array: NDArray[Any]) -> bool:
    """Whether each row is an image in two dimensions, grey or in colour."""
    return array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))
