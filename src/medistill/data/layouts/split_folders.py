"""`train|val|test/<class>/`: the split is the first folder, the class the second."""

from pathlib import Path
from typing import ClassVar

from medistill.data.formats import holds_images, image_files
from medistill.data.layouts.base import Layout, Sample, official_split, subfolders


class SplitFolders(Layout):
    """`train`, `val`, `test` folders (also Training, validation, ...) with a folder per class.

    Folders inside a class, one per patient say, are read too. Images right in a split's folder have
    no label; folders beside the splits are left alone.
    """

    rank: ClassVar[int] = 30

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A `train` folder with images, or nothing but folders of splits."""
        folders = subfolders(root)
        splits = [official_split(folder.name) for folder in folders]
        # A class may be called "test"; that all of them are is unlikely.
        fits = "train" in splits or (bool(splits) and None not in splits)
        return fits and any(
            holds_images(f) for f, split in zip(folders, splits, strict=True) if split
        )

    def samples(self) -> list[Sample]:
        """Every image below the folder of a split."""
        return [
            _sample(source)
            for folder in subfolders(self.root)
            if official_split(folder.name)
            for source in image_files(folder, self.root)
        ]


def _sample(source: str) -> Sample:
    split, *folders, _ = source.split("/")
    return Sample(source, label=folders[0] if folders else None, split=official_split(split))
