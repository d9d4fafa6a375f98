"""Scans: read as their files hold them, prepared for a network, and masks laid back on their grid.

Arrays have the axes (x, y, z) of their file until they are prepared. Numpy alone computes here, so
that what runs an exported model needs neither torch nor MONAI.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from medistill.errors import UserError
from medistill.grids import (
    WORLD,
    Frame,
    Shape,
    Triple,
    flipped,
    orientation_of,
    resample,
    spacing_mm,
    triple,
    turned_spacing_mm,
    turns,
)
from medistill.modalities import Modality
from medistill.nifti import forms_apart, header_for, nibabel
from medistill.series import read_series, series_in

__all__ = [
    "Modality",
    "Preparation",
    "Prepared",
    "Scan",
    "Shape",
    "Trace",
    "Triple",
    "UnreadableScan",
    "orientation_of",
    "oriented_spacing_mm",
    "prepare",
    "prepare_label",
    "read_channels",
    "read_scan",
    "resample",
    "restore",
    "spacing_mm",
    "write_mask",
]

SUFFIXES = (".nii.gz", ".nii")
_FIRST_BYTES = 348  # of a header of NIfTI 1; NIfTI 2 has 540


class UnreadableScan(UserError):
    """A file or folder that holds no scan that can be used, and why."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One volume as its file holds it.

    Args:
        pixels: (x, y, z), in the units of the scanner.
        affine: From voxels to millimetres in the world, x to the right, y to the front, z up.
        header: The NIfTI header, which a mask inherits; None for a DICOM series.
        stored: The type of number in the file.
        modality: What the file says that it is: `CT`, `MR`; empty where it does not.
        forms_apart: How far the two places that its header gives lie apart, in voxels.
    """

    pixels: NDArray[np.float32]
    affine: NDArray[np.float64]
    header: bytes | None = None
    stored: str = ""
    modality: str = ""
    forms_apart: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is done to a scan before a network sees it; an exported model carries it.

    Args:
        spacing_mm: Distance of the voxels along each axis, once turned.
        orientation: Where each axis points: R or L, A or P, S or I.
        frame: Directions that stand for R, A and S where scans lie obliquely, such as a heart's
            short axis; those of the body by default.
        modality: `ct` is clipped to a window in Hounsfield units; anything else, to percentiles.
        crop: Whether the margin without any tissue is left out.
        window_hu: The window of `ct`.
        percentiles: The bounds of anything else.
    """

    spacing_mm: Triple
    orientation: str = "RAS"
    frame: Frame | None = None
    modality: Modality = "mr"
    crop: bool = True
    window_hu: tuple[float, float] = (-500.0, 1000.0)
    percentiles: tuple[float, float] = (0.5, 99.5)

    def __post_init__(self) -> None:
        if len(self.spacing_mm) != 3 or not all(0 < s < 1000 for s in self.spacing_mm):
            raise UserError(f"spacing_mm is {self.spacing_mm}: three distances above 0 are needed.")
        named = [pair for pair in WORLD if set(pair) & set(self.orientation)]
        if len(self.orientation) != 3 or len(named) != 3:
            raise UserError(
                f"orientation is {self.orientation!r}: one letter each of RL, AP and SI, as RAS."
            )
        if self.modality not in get_args(Modality):
            raise UserError(f"modality is {self.modality!r}; choose one of ct, mr.")

    def as_document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Preparation":
        """The preparation that `as_document` wrote."""
        return cls(**_without_lists(document))


@dataclass(frozen=True, kw_only=True)
class Trace:
    """How one scan was turned, resampled and cropped: enough to undo it, to the voxel.

    Args:
        shape: Of the file.
        axes: Which axis of the file each prepared axis was.
        flips: Which prepared axes run against their file.
        ratios: Prepared voxels are so many times as long as the file's.
        grid: Shape once resampled.
        start: First voxel of the crop in that grid.
        size: Shape of the crop, which is the prepared image's.
    """

    shape: Shape
    axes: Shape
    flips: tuple[bool, bool, bool]
    ratios: Triple
    grid: Shape
    start: Shape
    size: Shape

    def as_document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Trace":
        """The trace that `as_document` wrote."""
        return cls(**_without_lists(document))

    @property
    def box(self) -> tuple[slice, ...]:
        """The crop, as slices of the resampled grid."""
        return tuple(slice(at, at + n) for at, n in zip(self.start, self.size, strict=True))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan as networks see it.

    Args:
        image: (x, y, z) turned, resampled, cropped and of mean 0 and deviation 1.
        trace: How to lay a mask of it back on the scan.
    """

    image: NDArray[np.float32]
    trace: Trace


def read_scan(path: Path, *, series: str = "") -> Scan:
    """The volume of a NIfTI file, or of a folder of DICOM slices.

    Args:
        path: `.nii`, `.nii.gz`, or a folder.
        series: Which of several series in a folder, by the name that `series_in` gives it.

    Raises:
        UnreadableScan: Nothing there, several volumes, or a broken one.
        UserError: Reading it needs a package that is not installed.
    """
    if path.is_dir():
        return _read_folder(path, series)
    volumes = read_channels(path)
    if len(volumes) > 1:
        raise UnreadableScan(
            f"{path}: holds {len(volumes)} volumes (channels or time points); save one of them."
        )
    return volumes[0]


def read_channels(path: Path) -> list[Scan]:
    """Every volume of a NIfTI file that may have a fourth axis."""
    image = _open_nifti(path)
    if (stored := image.get_data_dtype()).kind not in "iuf":
        raise UnreadableScan(f"{path}: holds {stored}, which are no plain numbers; convert it")
    try:
        pixels = np.asarray(image.dataobj, dtype=np.float32)
    except MemoryError:
        raise
    except Exception as error:  # zlib, a short file, a type without numbers: all mean the same
        raise UnreadableScan(f"{path}: cannot be decoded ({type(error).__name__})") from error
    pixels = pixels.reshape(*pixels.shape[:3], -1) if pixels.ndim >= 3 else pixels[..., None]
    if pixels.ndim != 4 or not pixels.size:
        raise UnreadableScan(f"{path}: has shape {image.shape}; a volume has three axes")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise UnreadableScan(f"{path}: its affine gives voxels no size; mend the header")
    header = bytes(image.header.binaryblock)
    told: dict[str, Any] = {"stored": str(stored), "forms_apart": forms_apart(image)}
    return [Scan(pixels[..., c], affine, header, **told) for c in range(pixels.shape[3])]


def oriented_spacing_mm(scan: Scan, orientation: str = "RAS", frame: Frame | None = None) -> Triple:
    """Distance of the voxels of a scan along each axis, once turned."""
    return turned_spacing_mm(scan.affine, orientation, frame)


def prepare(scan: Scan, preparation: Preparation) -> Prepared:
    """Turn, resample, crop and normalise a scan, in this order.

    Values that are no numbers count as the lowest value.
    """
    trace = _planned(scan, preparation)
    image = _moved(_finite(scan.pixels), trace, nearest=False)
    if preparation.crop:
        trace = _cropped(trace, image, _bounds(image, preparation)[0])
        image = image[trace.box]
    return Prepared(_normalised(image, *_bounds(image, preparation)), trace)


def prepare_label(label: Scan, trace: Trace) -> NDArray[np.uint8]:
    """A label map on the grid of a prepared image.

    Args:
        label: Of the same grid as the scan; whole numbers up to 255.
        trace: Of the scan's preparation.
    """
    values = np.rint(label.pixels).astype(np.uint8)
    return np.ascontiguousarray(_moved(values, trace, nearest=True)[trace.box])


def restore(labels: NDArray[np.uint8], trace: Trace) -> NDArray[np.uint8]:
    """A label map of a prepared image, or several of them, on the grid of the scan's own file."""
    if labels.ndim == 4:
        return np.stack([restore(each, trace) for each in labels])
    # What was cut off held no tissue, and so none of the classes.
    whole = np.zeros(trace.grid, np.uint8)
    whole[trace.box] = labels
    oriented = tuple(trace.shape[axis] for axis in trace.axes)
    finer = resample(whole, oriented, [1 / ratio for ratio in trace.ratios], nearest=True)
    return np.ascontiguousarray(flipped(finer, trace.flips).transpose(np.argsort(trace.axes)))


def write_mask(path: Path, mask: NDArray[np.uint8], scan: Scan) -> None:
    """Write a mask as NIfTI with the grid, the affine and the header of its scan.

    Args:
        path: `.nii` or `.nii.gz`.
        mask: On the scan's own grid; (classes, x, y, z) becomes a fourth axis.
        scan: Of its header only the type of number and the range of grey values change.
    """
    library = nibabel()
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{path}: a mask is written as .nii.gz or .nii.")
    voxels = np.moveaxis(mask, 0, 3) if mask.ndim == 4 else mask
    second = scan.header is not None and len(scan.header) > _FIRST_BYTES
    kind = library.Nifti2Image if second else library.Nifti1Image
    image = kind(voxels, scan.affine, header_for(scan.header, scan.affine, kind.header_class))
    image.set_data_dtype(np.uint8)
    # nibabel goes by the suffix, so the draft keeps it.
    draft = path.with_name(f".{uuid4().hex}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        library.save(image, draft)
        draft.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            draft.unlink()


def _moved(array: NDArray[Any], trace: Trace, *, nearest: bool) -> NDArray[Any]:
    turned = flipped(array.transpose(trace.axes), trace.flips)
    return resample(turned, trace.grid, trace.ratios, nearest=nearest)


def _planned(scan: Scan, preparation: Preparation) -> Trace:
    way = preparation.orientation, preparation.frame
    axes, flips = turns(scan.affine, *way)
    own = oriented_spacing_mm(scan, *way)
    ratios = [new / old for new, old in zip(preparation.spacing_mm, own, strict=True)]
    lengths = [scan.pixels.shape[axis] for axis in axes]
    grid = [max(1, round(n / ratio)) for n, ratio in zip(lengths, ratios, strict=True)]
    return Trace(
        shape=triple(scan.pixels.shape),
        axes=axes,
        flips=flips,
        ratios=(ratios[0], ratios[1], ratios[2]),
        grid=triple(grid),
        start=(0, 0, 0),
        size=triple(grid),
    )


def _cropped(trace: Trace, image: NDArray[np.float32], low: float) -> Trace:
    """Without the margin that clipping makes even: nothing that a network could see is lost."""
    tissue = image > low
    start, size = [], []
    for axis in range(3):
        found = np.flatnonzero(tissue.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(found):
            return trace
        start.append(int(found[0]))
        size.append(int(found[-1] - found[0] + 1))
    return Trace(**{**vars(trace), "start": triple(start), "size": triple(size)})


def _bounds(image: NDArray[np.float32], preparation: Preparation) -> tuple[float, float]:
    if preparation.modality == "ct":
        return preparation.window_hu
    low, high = np.percentile(image, preparation.percentiles)
    return float(low), float(high)


def _normalised(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    # Sums in double: of a hundred million voxels float32 leaves a mean few digits.
    clipped = image.clip(low, high)
    deviation = float(clipped.std(dtype=np.float64))
    clipped -= np.float32(clipped.mean(dtype=np.float64))
    clipped /= np.float32(deviation or 1.0)
    return np.ascontiguousarray(clipped)


def _finite(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    known = np.isfinite(pixels)
    if known.all():
        return pixels
    lowest = pixels[known].min() if known.any() else np.float32(0)
    return np.where(known, pixels, lowest)


def _read_folder(folder: Path, series: str) -> Scan:
    try:
        found = series_in(folder)
    except ValueError as error:
        raise UnreadableScan(f"{folder}: {error}") from error
    if not found or (series and series not in found):
        raise UnreadableScan(f"{folder}: holds no such DICOM series")
    if not series and len(found) > 1:
        counts = " and ".join(str(len(files)) for files in found.values())
        raise UnreadableScan(
            f"{folder}: holds {len(found)} series (of {counts} slices); give each its own folder"
        )
    try:
        return Scan(*read_series(found[series or next(iter(found))]))
    except ValueError as error:
        raise UnreadableScan(f"{folder}: {error}") from error


def _open_nifti(path: Path) -> Any:
    library = nibabel()
    if not path.exists():
        raise UnreadableScan(f"{path}: does not exist")
    if not path.name.lower().endswith(SUFFIXES):
        raise UnreadableScan(f"{path}: is neither .nii.gz, .nii nor a folder of DICOM slices")
    try:
        return library.load(path)
    except Exception as error:  # its own and those of gzip: any of them means a broken file
        raise UnreadableScan(f"{path}: is not NIfTI, whatever its name says") from error


def _without_lists(document: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
