"""Image files -> pictures: PNG, JPEG, TIFF, BMP and DICOM. No torch here: `predict` uses it."""

import math
import os
import struct
import warnings
from collections.abc import Iterator
from itertools import filterfalse
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from medistill.data.dicom import read_dicom
from medistill.data.picture import Picture, Unreadable, decode_array

__all__ = [
    "SUFFIXES",
    "Picture",
    "Unreadable",
    "decode_array",
    "holds_images",
    "holds_volumes",
    "image_files",
    "is_clutter",
    "is_image",
    "is_volume",
    "read_image",
]

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}) | DICOM_SUFFIXES
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
BROKEN = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
)
# Set once and for all threads: a file of more than 89 megapixels is refused, not warned about.
warnings.simplefilter("error", Image.DecompressionBombWarning)


def read_image(path: Path) -> Picture:
    """The image of a file, turned as its EXIF orientation says.

    A palette becomes colour, transparency is laid over black. 16-bit and float grey is stretched as
    `decode_array` says; of 16-bit colour the upper 8 bits count.

    Raises:
        Unreadable: The file is absent, empty, broken, or holds more than one image.
        UserError: Reading it needs a package that is not installed.
    """
    if is_volume(path):
        raise Unreadable(f"{path}: is a volume (NIfTI and the like), not a 2D image")
    try:
        size = path.stat().st_size
        dicom = path.suffix.lower() in DICOM_SUFFIXES or _marked_as_dicom(path)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from error
    if not size:
        raise Unreadable(f"{path}: is empty (0 bytes)")
    return read_dicom(path) if dicom else _read_with_pillow(path)


def is_image(path: Path) -> bool:
    """Whether a file claims to be an image: by its suffix, or without one by the mark of DICOM."""
    suffix = path.suffix.lower()
    # Scanners name files by a DICOM identifier: the `suffix` of 1.2.840.113619 is a number.
    unnamed = not suffix or suffix[1:].isdigit()
    return suffix in SUFFIXES or (unnamed and path.is_file() and _marked_as_dicom(path))


def is_volume(path: Path) -> bool:
    """Whether a file is a volume of a kind that is refused."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def is_clutter(name: str) -> bool:
    """Whether a file or folder was left by an operating system, not by a person."""
    return name.startswith(".") or name in {"__MACOSX", "Thumbs.db"}


def image_files(folder: Path, relative_to: Path | None = None) -> list[str]:
    """Paths of all images below a folder, with `/`, in the order of their names.

    Args:
        folder: Where to look, in its folders too; what operating systems leave behind is ignored.
        relative_to: What the paths start from; the folder itself if not given.
    """
    start = relative_to or folder
    return sorted(path.relative_to(start).as_posix() for path in _files(folder) if is_image(path))


def holds_images(folder: Path) -> bool:
    """Whether there is an image anywhere below a folder."""
    return any(is_image(path) for path in _files(folder))


def holds_volumes(folder: Path) -> bool:
    """Whether there is a volume anywhere below a folder."""
    return any(is_volume(path) for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    # Links to folders are followed, for large data often lives elsewhere; a loop ends by `seen`.
    seen = {folder.resolve()}
    for parent, folders, names in os.walk(folder, followlinks=True):
        here = Path(parent)
        folders[:] = sorted(filterfalse(is_clutter, folders))
        links = {name: (here / name).resolve() for name in folders if (here / name).is_symlink()}
        folders[:] = [name for name in folders if links.get(name) not in seen]
        seen |= set(links.values())
        yield from map(here.joinpath, filterfalse(is_clutter, names))


def _marked_as_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _read_with_pillow(path: Path) -> Picture:
    try:
        with Image.open(path) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError  # where somebody took the filter off again
            pages = getattr(image, "n_frames", 1)
            # A JPEG of several pictures (MPO) shows its first one in every viewer.
            if pages > 1 and image.format != "MPO":
                raise Unreadable(f"{path}: holds {pages} pages; save each as a file of its own")
            return _decode(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"{Image.MAX_IMAGE_PIXELS:,} pixels"
        raise Unreadable(f"{path}: holds more than {limit}; cut or shrink it") from error
    except UnidentifiedImageError as error:
        raise Unreadable(f"{path}: is not an image, whatever its name says") from error
    except BROKEN as error:
        raise Unreadable(f"{path}: cannot be decoded ({error})") from error


def _decode(image: Image.Image) -> Picture:
    if image.mode.startswith("I") or image.mode in ("1", "F"):
        return decode_array(np.asarray(image))
    if image.has_transparency_data:
        over = image.convert("RGBA")
        black = Image.new("RGBA", over.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, over)
    return decode_array(np.asarray(image if image.mode == "L" else image.convert("RGB")))
