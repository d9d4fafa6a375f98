"""`<class>/`: the class is the first folder, and nobody has split yet."""

from pathlib import Path
from typing import ClassVar

from medistill.data.formats import holds_images, image_files
from medistill.data.layouts.base import Layout, Sample, subfolders


class ClassFolders(Layout):
    """A folder per class without official splits; folders inside a class are read too."""

    rank: ClassVar[int] = 40

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """At least two folders with images below them."""
        # One folder alone is no task; more likely it is a download's wrapping.
        return sum(holds_images(folder) for folder in subfolders(root)) >= 2

    def samples(self) -> list[Sample]:
        """Every image below a class's folder."""
        return [
            Sample(source, label=folder.name)
            for folder in subfolders(self.root)
            for source in image_files(folder, self.root)
        ]
