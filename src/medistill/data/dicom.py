"""DICOM files -> pictures: the values that the scanner meant, in the window that it proposed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medistill.data.picture import Picture, Unreadable, decode_array, stretch, value_range
from medistill.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset


def read_dicom(path: Path) -> Picture:
    """The image of a DICOM file with a single frame.

    Grey values are rescaled (slope and intercept, or table), then the first window of the file maps
    them to 8 bits; without a window, lowest to highest value. MONOCHROME1, where high values are
    dark, is inverted. `low` and `high` are rescaled values, before the window.

    Raises:
        Unreadable: The file is broken, without pixels, of several frames, or compressed in a way
            that no installed package decodes.
        UserError: pydicom is not installed.
    """
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise UserError('reading DICOM needs pydicom: pip install "medistill[dicom]"') from error
    try:
        dataset = dcmread(path)
        if "PixelData" not in dataset:
            raise Unreadable(f"{path}: is a DICOM file without an image")
        frames = int(dataset.get("NumberOfFrames") or 1)
        if frames > 1:
            raise Unreadable(f"{path}: holds {frames} frames; save each as a file of its own")
        return _decode(dataset)
    except InvalidDicomError as error:
        raise Unreadable(f"{path}: is not a DICOM file, whatever its name says") from error
    except Unreadable:
        raise
    except Exception as error:  # its parsers raise nearly anything on broken bytes
        raise Unreadable(f"{path}: cannot be decoded ({_reason(error)})") from error


def _decode(dataset: "Dataset") -> Picture:
    from pydicom.pixels.processing import apply_color_lut, apply_rescale
    from pydicom.pixels.utils import pixel_array

    stored = pixel_array(dataset)
    colours = str(dataset.PhotometricInterpretation)
    if colours == "PALETTE COLOR":
        return decode_array(apply_color_lut(stored, dataset))
    if stored.ndim == 3:
        return decode_array(stored)
    values = apply_rescale(stored, dataset)
    grey = _windowed(values, dataset)
    low, high = value_range(values)
    shown = 255 - grey if colours == "MONOCHROME1" else grey
    return Picture(shown[..., None], stored.dtype.name, low, high)


def _windowed(values: NDArray[Any], dataset: "Dataset") -> NDArray[np.uint8]:
    centre, width = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
    kind = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if centre is None or width is None or width <= (1 if kind == "LINEAR" else 0):
        return _without_window(values, dataset)
    if kind == "SIGMOID":
        sigmoid = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
        return stretch(sigmoid, 0.0, 1.0)
    if kind == "LINEAR":  # DICOM PS3.3, C.11.2.1.2.1: half a step off the exact window
        centre, width = centre - 0.5, width - 1
    return stretch(values, centre - width / 2, centre + width / 2)


def _without_window(values: NDArray[Any], dataset: "Dataset") -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_voi

    table = dataset.get("VOILUTSequence")
    shown = apply_voi(values, dataset) if table else values
    return stretch(shown, *value_range(shown))


def _first(dataset: "Dataset", name: str) -> float | None:
    value = dataset.get(name)
    # A window may be absent, empty, one number or a list of them, all within the standard.
    several = value is not None and not isinstance(value, str) and hasattr(value, "__len__")
    first = (value[0] if len(value) else None) if several else value
    return None if first in (None, "") else float(first)


def _reason(error: Exception) -> str:
    # Other messages may quote the header, and with it the patient.
    decoder = isinstance(error, RuntimeError)
    return " ".join(str(error).split()) if decoder else type(error).__name__
