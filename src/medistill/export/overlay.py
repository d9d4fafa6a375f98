"""Where a network saw evidence, drawn over the picture: numpy and pillow are all it takes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medistill.data.formats import Picture
from medistill.results import replacing
from medistill.shapes import Float, UInt8

SIDES = (256, 640)  # of a drawn picture: it fits a screen
GAP, STRIP, SCALE = 6, 26, 80
OPACITY = 0.75  # where the evidence is strongest: the picture must still be seen beneath
# Colours of growing lightness (matplotlib's inferno up to 0.84): equal steps look equal, in grey
# and to the colour-blind too, as in no rainbow; paler ones would vanish on bright pictures.
COLOURS = ("000004", "180c3c", "450a69", "71196e", "9b2964", "c43c4e", "e55c30", "f8870e", "fbba1f")

Pixels = UInt8[np.ndarray, "height width 3"]


class Overlays:
    """A folder of numbered files: each a picture, and beside it the same under its evidence.

    The numbers name no patient; a table says which is which.

    Args:
        folder: Made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved = 0

    def save(self, picture: Picture, evidence: Float[np.ndarray, "a b"], told: str) -> str:
        """Draw one picture, and the words beneath.

        Returns:
            The file, with the name of its folder.
        """
        pixels = shown(picture)
        over = overlaid(pixels, heat(evidence, *pixels.shape[:2]))
        file = self.folder / f"{self.saved + 1:04d}.png"
        save_png(captioned(beside([pixels, over]), told), file)
        self.saved += 1
        return f"{self.folder.name}/{file.name}"


def heat(
    evidence: Float[np.ndarray, "a b"], height: int, width: int
) -> Float[np.ndarray, "height width"]:
    """Evidence on the grid of a picture, from 0 to 1; what speaks against is 0.

    As the network saw the picture, stretched to a square, the map is stretched back.
    """
    coarse = Image.fromarray(evidence.clip(min=0).astype(np.float32))
    fine = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))
    low, high = float(fine.min()), float(fine.max())
    flat = high - low <= 1e-6 * high  # but for rounding
    return np.asarray(np.zeros_like(fine) if flat else (fine - low) / (high - low))


def shown(picture: Picture, *, sides: tuple[int, int] = SIDES) -> Pixels:
    """A picture in colour; its longer side is brought between two lengths in pixels."""
    channels = picture.pixels.shape[2]
    image = Image.fromarray(picture.pixels[..., 0] if channels == 1 else picture.pixels)
    longest = max(image.size)
    scale = min(max(longest, sides[0]), sides[1]) / longest
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC).convert("RGB"))


def overlaid(pixels: Pixels, warmth: Float[np.ndarray, "height width"]) -> Pixels:
    """A picture under its evidence: untouched where there is none, coloured where there is most."""
    share = OPACITY * warmth[..., None]
    return np.asarray((1 - share) * pixels + share * coloured(warmth)).round().astype(np.uint8)


def coloured(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 3"]:
    """The colour of each value from 0 to 1, in 0 to 255."""
    stops = np.array([list(bytes.fromhex(colour)) for colour in COLOURS], np.float32)
    places = np.linspace(0, 1, len(stops))
    channels = [np.interp(values, places, stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def beside(pictures: Sequence[Pixels]) -> Image.Image:
    """Pictures of one height in a row."""
    height = pictures[0].shape[0]
    gap = np.zeros((height, GAP, 3), np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return Image.fromarray(np.concatenate(parts, axis=1))


def captioned(image: Image.Image, told: str) -> Image.Image:
    """An image above a line of words and the scale of its colours."""
    words = _line(f"evidence for {told}")
    whole = Image.new("RGB", (max(image.width, words.width), image.height + STRIP))
    whole.paste(image)
    whole.paste(words, (0, image.height))
    return whole


def _line(told: str) -> Image.Image:
    """Words, and the scale of the colours with its ends."""
    font = ImageFont.load_default(13)
    line = Image.new("RGB", (int(font.getlength(f"{told}none most")) + SCALE + 6 * GAP, STRIP))
    draw, at = ImageDraw.Draw(line), GAP
    for part in (told, "none"):
        draw.text((at, STRIP // 2), part, "white", font, anchor="lm")
        at += int(font.getlength(part)) + (3 if part == told else 1) * GAP
    colours = np.broadcast_to(coloured(np.linspace(0, 1, SCALE)), (8, SCALE, 3)).round()
    line.paste(Image.fromarray(colours.astype(np.uint8)), (at, STRIP // 2 - 4))
    draw.text((at + SCALE + GAP, STRIP // 2), "most", "white", font, anchor="lm")
    return line


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with replacing(path) as draft:
        image.save(draft)
