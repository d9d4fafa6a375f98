"""Images that are nearly the same but stand in different splits, and a sheet to look at them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from medistill.data.entries import Entry
from medistill.data.picture import Picture

# Share of the bits set in either thumbnail that are set in both. Measured on ten public sets: from
# here on pairs correlate above 0.9 as images, most above 0.99; below 0.88, chest X-rays of
# different people begin to match.
ALIKE = 0.9
_ROWS = 256  # compared with all others at once: bounds the memory


def near_copies(
    entries: Sequence[Entry], splits: Mapping[str, Iterable[int]]
) -> list[tuple[int, int]]:
    """Pairs across splits whose thumbnails are alike, the most alike first.

    Identical images are not among them, nor blank or unreadable ones.
    """
    usable = {
        name: [i for i in map(int, rows) if entries[i].digest and not entries[i].blank]
        for name, rows in splits.items()
    }
    found = []
    for one, other in combinations(usable.values(), 2):
        found += _alike_pairs(entries, one, other)
    return [pair for _, pair in sorted(found)]


def _alike_pairs(
    entries: Sequence[Entry], one: list[int], other: list[int]
) -> list[tuple[float, tuple[int, int]]]:
    left, right = _bits(entries, one), _bits(entries, other)
    pairs = []
    for start in range(0, len(one), _ROWS):
        likeness = _likeness(left[start : start + _ROWS], right)
        # Identical images have a finding of their own.
        for row, column in np.argwhere(likeness >= ALIKE).tolist():
            i, j = one[start + row], other[column]
            if entries[i].digest != entries[j].digest:
                pairs.append((-float(likeness[row, column]), (i, j)))
    return pairs


def _bits(entries: Sequence[Entry], rows: list[int]) -> NDArray[np.float32]:
    joined = b"".join(entries[i].thumbnail.to_bytes(32, "big") for i in rows)
    packed = np.frombuffer(joined, np.uint8).reshape(len(rows), 32)
    return np.unpackbits(packed, axis=1).astype(np.float32)


def _likeness(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bits set in both over bits set in either: large dark backgrounds do not count as alike."""
    both = left @ right.T
    either = left.sum(axis=1)[:, None] + right.sum(axis=1) - both
    likeness: NDArray[np.float32] = both / np.maximum(either, np.float32(1))
    return likeness


def contact_sheet(
    pairs: Sequence[tuple[Picture, Picture]], path: Path, *, columns: int = 4, side: int = 160
) -> None:
    """Write a PNG of pairs side by side, numbered from 1.

    No file name is written on it, for names may tell a patient.

    Args:
        pairs: The pictures, in the order that a finding lists them.
        path: The file to write.
        columns: How many pairs stand in a row.
        side: Width and height of one picture's place in pixels.
    """
    gap, caption = 8, 16
    width, height = 2 * side + 2 * gap, side + caption + gap
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * width + gap, max(rows, 1) * height + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        x, y = gap + number % columns * width, gap + number // columns * height
        draw.text((x, y), str(number + 1), fill="black")
        for place, picture in enumerate(pair):
            sheet.paste(_shrunk(picture, side), (x + place * side, y + caption))
    sheet.save(path, format="PNG")


def _shrunk(picture: Picture, side: int) -> Image.Image:
    grey = picture.pixels.shape[2] == 1
    image = Image.fromarray(picture.pixels[..., 0] if grey else picture.pixels).convert("RGB")
    image.thumbnail((side, side))
    return image
