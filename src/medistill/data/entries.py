"""What is remembered of an image once it was decoded, enough to check a data set without it."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medistill.data.picture import Picture


@dataclass(frozen=True)
class Entry:
    """One image of a data set, as the checks and the splits see it.

    Args:
        source: Where it came from, as its sample says.
        digest: Of the decoded pixels and their shape; equal for identical images; empty when
            the file could not be read.
        file_digest: Of the bytes of the file.
        height: In pixels, as the file held it.
        width: In pixels, as the file held it.
        channels: 1 for grey, 3 for colour; 0 when the file could not be read.
        low: Lowest value of the file, in its own units.
        high: Highest value of the file.
        blank: All pixels are equal.
        thumbnail: 256 bits that change little when the image changes little.
        error: Why the file could not be read, or None.
    """

    source: str
    digest: str
    file_digest: str
    height: int
    width: int
    channels: int
    low: float
    high: float
    blank: bool
    thumbnail: int
    error: str | None = None


def describe(picture: Picture, source: str, file_digest: str) -> Entry:
    """The entry of an image that could be read."""
    pixels = picture.pixels
    height, width, channels = pixels.shape
    return Entry(
        source=source,
        digest=pixel_digest(pixels),
        file_digest=file_digest,
        height=height,
        width=width,
        channels=channels,
        low=picture.low,
        high=picture.high,
        blank=bool((pixels == pixels[0, 0]).all()),
        thumbnail=difference_hash(pixels),
    )


def broken(source: str, file_digest: str, error: str) -> Entry:
    """The entry of a file that could not be read, and why."""
    return Entry(source, "", file_digest, 0, 0, 0, 0.0, 0.0, False, 0, error)


def pixel_digest(pixels: NDArray[np.uint8]) -> str:
    """16 hexadecimal digits that two images share only if shape and pixels are the same."""
    return sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]


def difference_hash(pixels: NDArray[np.uint8]) -> int:
    """256 bits: in a 16 x 17 thumbnail, is each pixel darker than its right neighbour?

    Unmoved by brightness and contrast, nearly so by resizing and compression. The usual 64 bits
    were tried: 223 pairs of different chest X-rays then have equal hashes, with 256 none.
    """
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("L")
    small = np.asarray(image.resize((17, 16), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(small[:, :-1] < small[:, 1:]).tobytes(), "big")
