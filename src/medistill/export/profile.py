"""How the training images looked, so that a deployed model can tell when an image does not."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medistill.data.formats import Picture

Band = tuple[float, float]

QUANTILES = (0.005, 0.995)  # one odd training image in 200 does not widen a band
SIZES = ("height", "width", "width / height")
FARTHER = 1.5  # sizes may leave their band by this factor
VALUES = ("lowest value", "highest value")
BEYOND = 0.25  # all else may, by this share of its band's width
STEPS = 8.0  # and by as many of the 256 grey levels, for sets that are all alike


@dataclass(frozen=True)
class ImageProfile:
    """Size, values, brightness and colour of the training images.

    It holds bounds that 99 % of the images keep, and nothing of any single one.

    Args:
        bands: Lower and upper bound of each quantity that `measure` knows.
    """

    bands: Mapping[str, Band]

    @classmethod
    def of(cls, pictures: Iterable[Picture]) -> "ImageProfile":
        """The profile of some pictures, which are looked at one after the other.

        A sample of some hundred training images, decoded as at prediction, is enough.
        """
        rows = [measure(picture) for picture in pictures]
        if not rows:
            raise ValueError("A profile needs at least one picture.")
        return cls({name: _band([row[name] for row in rows]) for name in rows[0]})

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ImageProfile":
        """The profile that `as_document` described."""
        return cls({name: (float(low), float(high)) for name, (low, high) in document.items()})

    def as_document(self) -> dict[str, Any]:
        """The same in plain types, for JSON."""
        return {name: list(band) for name, band in self.bands.items()}

    def unlike(self, picture: Picture) -> list[str]:
        """Reasons why a picture is unlike the training images; none for those that are alike."""
        return list(self._reasons(picture))

    def _reasons(self, picture: Picture) -> Iterator[str]:
        for name, value in measure(picture).items():
            low, high = self._allowed(name)
            if not low <= value <= high:
                first, last = self.bands[name]
                yield f"{name} {value:.4g} (training: {first:.4g} to {last:.4g})"

    def _allowed(self, name: str) -> Band:
        low, high = self.bands.get(name, (-np.inf, np.inf))
        if name in SIZES:
            return low / FARTHER, high * FARTHER
        if name in VALUES:
            slack = BEYOND * (self.bands["highest value"][1] - self.bands["lowest value"][0])
        else:
            slack = max(BEYOND * (high - low), STEPS)
        return low - slack, high + slack


def measure(picture: Picture) -> dict[str, float]:
    """What a profile compares: sizes in pixels, values as in the file, the rest of 256 levels."""
    pixels = picture.pixels
    height, width, channels = pixels.shape
    return {
        "height": float(height),
        "width": float(width),
        "width / height": width / height,
        "lowest value": picture.low,
        "highest value": picture.high,
        "brightness": float(pixels.mean()),
        "contrast": float(pixels.std()),
        "colour": float(np.ptp(pixels, axis=2).mean()) if channels > 1 else 0.0,
    }


def _band(values: list[float]) -> Band:
    low, high = np.quantile(np.array(values), QUANTILES)
    return float(low), float(high)
