"""An image as every reader hands it on: 8 bits, grey or colour, and the range of its file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medistill.errors import UserError


class Unreadable(UserError):
    """One file that cannot be used as an image: broken, empty, or of a form that is refused."""


@dataclass(frozen=True)
class Picture:
    """One decoded image.

    Args:
        pixels: (height, width, channels) in 8 bits, with 1 channel (grey) or 3 (red, green, blue).
        original_dtype: What a value was in the file, as numpy calls it.
        low: Lowest value of the file, in its own units (Hounsfield units of a CT in DICOM).
        high: Highest value of the file.
    """

    pixels: NDArray[np.uint8]
    original_dtype: str
    low: float
    high: float


def decode_array(array: NDArray[Any]) -> Picture:
    """The picture of an array (height, width), or (height, width, channels) with 1 or 3 channels.

    8-bit values stay as they are. All others (16-bit, float) are stretched from their lowest to
    their highest value over 0 to 255, each image for itself, because the range in use says more
    than the range of the type; NaN and infinities count as the lowest. Colour whose three channels
    are equal becomes grey.

    Raises:
        ValueError: The array is not one image.
    """
    values = _with_channels(array)
    values = values.astype(np.uint8) * 255 if values.dtype == bool else values
    low, high = value_range(values)
    pixels = values if values.dtype == np.uint8 else stretch(values, low, high)
    return Picture(_grey_if_equal(pixels), array.dtype.name, low, high)


def _with_channels(array: NDArray[Any]) -> NDArray[Any]:
    """One image as (height, width, channels); a `ValueError` for what is none."""
    values = array[..., None] if array.ndim == 2 else array
    if values.ndim != 3 or values.shape[2] not in (1, 3) or not values.size:
        raise ValueError(f"an array of shape {array.shape} is not one image with 1 or 3 channels")
    return values


def value_range(values: NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest finite value; zeros when there is none."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def stretch(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """8-bit values: `low` and below become 0, `high` and above 255; all 0 where they are equal."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    # In double precision: the difference of two 32-bit integers may not fit into 32 bits.
    finite = np.nan_to_num(values.astype(np.float64), nan=low, posinf=low, neginf=low)
    return np.rint((np.clip(finite, low, high) - low) * (255 / (high - low))).astype(np.uint8)


def _grey_if_equal(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    equal = pixels.shape[2] == 3 and (pixels == pixels[..., :1]).all()
    return np.ascontiguousarray(pixels[..., :1] if equal else pixels)
