"""DICOM series -> one volume: slices sorted by where they lie, in the units of the scanner."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medistill.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

Volume = tuple[NDArray[np.float32], NDArray[np.float64], None, str, str]

_SUFFIXES = ("", ".dcm", ".dicom", ".ima")
_UNEVEN = 0.05  # share of a step by which slices may stand off: positions are rounded in files
_PARALLEL = 1e-3


def series_in(folder: Path) -> dict[str, list[Path]]:
    """The files of each series right in a folder, by a name that tells no patient.

    Args:
        folder: What is no DICOM file in it is passed over.
    """
    found: dict[str, list[Path]] = {}
    for path in _dicom_files(folder):
        header = _read(path, header_only=True)
        if "SeriesInstanceUID" in header and "Rows" in header:
            # An identifier leads back to the patient wherever the archive is; a hash does not.
            name = sha256(str(header.SeriesInstanceUID).encode()).hexdigest()[:16]
            found.setdefault(name, []).append(path)
    return dict(sorted(found.items()))


def places_in(folder: Path) -> Iterator[tuple[str, str]]:
    """The series of each DICOM file right in a folder, and where it lies; empty if not told."""
    for path in _dicom_files(folder):
        header = _read(path, header_only=True)
        place = header.get("ImagePositionPatient") or ""
        yield str(header.get("SeriesInstanceUID") or "") if place else "", str(place)


def patient_in(path: Path) -> str:
    """A name for the patient of a file, the same in all of a patient's files; empty if unknown."""
    identity = str(_read(path, header_only=True).get("PatientID") or "")
    return sha256(identity.encode()).hexdigest()[:16] if identity else ""


def modality_in(path: Path) -> str:
    """What kind of scan a file says that it is: `CT`, `MR`."""
    return str(_read(path, header_only=True).get("Modality") or "")


def holds_series(folder: Path) -> bool:
    """Whether there is a DICOM file right in a folder."""
    return next(_dicom_files(folder), None) is not None


def read_series(files: Sequence[Path]) -> Volume:
    """Pixels (x, y, z), affine, no header, stored type and modality of one series.

    Grey values are rescaled slice by slice; MONOCHROME1, where high values are dark, is inverted.

    Raises:
        ValueError: The slices do not make up one volume; the message says why.
        UserError: pydicom is not installed.
    """
    slices = [_read(path) for path in files]
    first = slices[0]
    if any(int(one.get("NumberOfFrames") or 1) > 1 for one in slices):
        raise ValueError("holds several frames in a file; save each as a slice of its own")
    if not all(one.get("ImagePositionPatient") for one in slices):
        raise ValueError("does not say where its slices lie (no ImagePositionPatient)")
    rows, columns = _directions(slices)
    normal = np.cross(rows, columns)
    slices.sort(key=lambda one: float(_position(one) @ normal))
    steps = _steps(slices, normal)
    down, across = (float(value) for value in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = rows * across, columns * down, steps
    affine[:3, 3] = _position(slices[0])
    # DICOM counts to the left and to the back, NIfTI to the right and to the front.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return _pixels(slices), affine, None, _stored(first), str(first.get("Modality") or "")


def _pixels(slices: Sequence["Dataset"]) -> NDArray[np.float32]:
    """Grey values (x, y, z) of sorted slices."""
    # PET and some MR scanners rescale each slice by a slope of its own.
    planes = np.stack([_plane(one) for one in slices])
    if str(slices[0].get("PhotometricInterpretation")) == "MONOCHROME1":
        planes = planes.max() + planes.min() - planes
    return np.ascontiguousarray(planes.transpose(2, 1, 0))


def _stored(first: "Dataset") -> str:
    """The type in which a slice holds its numbers."""
    return f"{'u' * (not first.get('PixelRepresentation'))}int{first.get('BitsAllocated', 16)}"


def _plane(one: "Dataset") -> NDArray[np.float32]:
    from pydicom.pixels.processing import apply_rescale
    from pydicom.pixels.utils import pixel_array

    try:
        plane = pixel_array(one)
    except Exception as error:  # its decoders raise nearly anything on broken bytes
        # Other messages may quote the header, and with it the patient.
        told = " ".join(str(error).split()) if isinstance(error, RuntimeError) else ""
        raise ValueError(f"cannot be decoded ({told or type(error).__name__})") from error
    if plane.ndim != 2:
        raise ValueError("holds slices in colour, not in grey")
    return np.asarray(apply_rescale(plane, one), dtype=np.float32)


def _directions(slices: Sequence["Dataset"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first = slices[0]
    if any((one.Rows, one.Columns) != (first.Rows, first.Columns) for one in slices):
        raise ValueError("holds slices of different sizes; keep those of one")
    if not all(one.get("ImageOrientationPatient") and one.get("PixelSpacing") for one in slices):
        raise ValueError("does not say how its slices lie (orientation or pixel spacing missing)")
    turned = np.array([one.ImageOrientationPatient for one in slices], dtype=np.float64)
    if np.abs(turned - turned[0]).max() > _PARALLEL:
        raise ValueError("holds slices that are not parallel; keep those of one direction")
    return turned[0, :3], turned[0, 3:]


def _thickness(lone: "Dataset") -> float:
    """Of a slice without neighbours, in millimetres; 1 where its file does not say."""
    return float(lone.get("SpacingBetweenSlices") or lone.get("SliceThickness") or 1.0)


def _steps(slices: Sequence["Dataset"], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """From one slice to the next, in millimetres of the world."""
    first = slices[0]
    if len(slices) == 1:
        return normal * _thickness(first)
    heights = np.array([float(_position(one) @ normal) for one in slices])
    gaps = np.diff(heights)
    if gaps.min() < 1e-3:
        raise ValueError("holds two slices at one place (time points or echoes?); keep one of each")
    if gaps.max() - gaps.min() > 2 * _UNEVEN * np.median(gaps):
        told = f"{gaps.min():.2f} to {gaps.max():.2f} mm apart"
        raise ValueError(f"holds slices that are {told}; one may be missing")
    # Not along the normal: a tilted gantry shears the volume.
    whole: NDArray[np.float64] = _position(slices[-1]) - _position(first)
    return whole / (len(slices) - 1)


def _position(one: "Dataset") -> NDArray[np.float64]:
    return np.array(one.ImagePositionPatient, dtype=np.float64)


def _dicom_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if _may_be_dicom(path):
            with path.open("rb") as file:
                if file.read(132)[128:] == b"DICM":
                    yield path


def _may_be_dicom(path: Path) -> bool:
    # By the name first: a folder of a hundred thousand pictures need not be opened one by one.
    suffix, hidden = path.suffix.lower(), path.name.startswith(".") or path.name == "DICOMDIR"
    # Scanners name files by an identifier: the `suffix` of 1.2.840.113619 is a number.
    named = suffix in _SUFFIXES or suffix[1:].isdigit()
    return named and not hidden and path.is_file()


def _read(path: Path, *, header_only: bool = False) -> Any:
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise UserError('reading DICOM needs pydicom: pip install "medistill[dicom]"') from error
    try:
        return dcmread(path, stop_before_pixels=header_only)
    except Exception as error:  # its parsers raise nearly anything on broken bytes
        raise ValueError(f"{path.name} cannot be read ({type(error).__name__})") from error
