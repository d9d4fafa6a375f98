"""Images lying in a folder, without labels."""

from pathlib import Path
from typing import ClassVar

from medistill.data.formats import image_files, is_clutter, is_image
from medistill.data.layouts.base import Layout, Sample


class FlatImages(Layout):
    """Images without labels, for methods that need none; folders below the root are read too."""

    rank: ClassVar[int] = 50

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """At least one image right in the folder."""
        return root.is_dir() and any(
            is_image(path) for path in root.iterdir() if not is_clutter(path.name)
        )

    def samples(self) -> list[Sample]:
        """Every image, with neither label nor split."""
        return [Sample(source) for source in image_files(self.root)]
