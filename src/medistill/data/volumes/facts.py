"""What is remembered of a volume once it was read, enough to check a data set without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medistill.data.entries import Entry
from medistill.data.volumes.layouts.base import Case, VolumeLayout
from medistill.data.volumes.marking import aligned, label_map, voxels_of, whole_numbers
from medistill.grids import Frame, Shape, Triple, orientation_of, turned_spacing_mm
from medistill.scans import Scan, UnreadableScan

_TOLD = 20  # values: a scan that was taken for a label has thousands


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One volume of a data set, as the checks and the splits see it.

    Args:
        source: Where it came from, as its case says.
        file_digest: Of the bytes of its files.
        digest: Of its pixels and their shape; equal for identical volumes; empty if unreadable.
        label_digest: Of the classes of its voxels; empty without a label.
        shape: Of the file.
        axes_mm: From one voxel to the next, in the world: the affine without its origin.
        orientation: Where the axes of the file point: `LPS`, say.
        stored: The type of number in the file.
        modality: What the file says that it is; empty where it does not.
        low: Lowest value of the file.
        high: 99.5th percentile of its values.
        not_finite: How many values are no numbers.
        blank: All values are equal.
        forms_apart: How far the two places that a header of its files gives lie apart, in voxels.
        label_stored: The type of number in the file of the label.
        fractional: Its label has values that are no whole numbers.
        unknown: Values of the label that no class claims.
        voxels: Of each class of the data set.
        overlapping: Some voxel is of two classes, so that each class has a map of its own.
        gap_voxels: How far the header of the label lays it off the scan.
        error: Why it cannot be used, or None.
        mismatch: Whether that is because the shape of its label is another.
    """

    source: str
    file_digest: str
    digest: str = ""
    label_digest: str = ""
    shape: Shape = (0, 0, 0)
    axes_mm: Frame = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    orientation: str = ""
    stored: str = ""
    modality: str = ""
    low: float = 0.0
    high: float = 0.0
    not_finite: int = 0
    blank: bool = False
    forms_apart: float = 0.0
    label_stored: str = ""
    fractional: bool = False
    unknown: tuple[int, ...] = ()
    voxels: tuple[int, ...] = ()
    overlapping: bool = False
    gap_voxels: float = 0.0
    error: str | None = None
    mismatch: bool = False

    @property
    def labelled(self) -> bool:
        """Whether it can be trained on and judged."""
        return bool(self.digest and self.label_digest)

    @property
    def affine(self) -> NDArray[np.float64]:
        """How its voxels lie in the world, wherever that begins."""
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(self.axes_mm, (3, 3))
        return affine

    def spacing_mm(self, frame: Frame | None = None, orientation: str = "RAS") -> Triple:
        """Distance of its voxels along each axis, once turned."""
        return turned_spacing_mm(self.affine, orientation, frame)

    @property
    def entry(self) -> Entry:
        """What checks that images and volumes share look at."""
        return Entry(
            source=self.source,
            digest=self.digest,
            file_digest=self.file_digest,
            height=self.shape[0],
            width=self.shape[1],
            channels=1,
            low=self.low,
            high=self.high,
            blank=self.blank,
            thumbnail=0,
            error=None if self.mismatch else self.error,
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Facts":
        """What `dataclasses.asdict` wrote as JSON."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in document.items()
        }
        return cls(**values)


def describe(layout: VolumeLayout, case: Case, file_digest: str) -> Facts:
    """Read a volume and its label; what is wrong with them stands in the facts."""
    known: dict[str, Any] = {"source": case.image, "file_digest": file_digest}
    try:
        # In steps: of a scan whose label is damaged its own facts are still told.
        scan = layout.read(case)
        known |= _of_scan(scan)
        marks = layout.read_label(case)
        known["forms_apart"] = max(one.forms_apart for one in (scan, *marks))
        known |= _of_label([aligned(mark, scan) for mark in marks], case, layout)
    except UnreadableScan as error:
        # Without the root: the store stays right when the data moves.
        told = str(error).removeprefix(f"{layout.root}/")
        mismatch = "its label has" in told
        return Facts(**{**known, "digest": "", "error": told, "mismatch": mismatch})
    return Facts(**known)


def read_marked(layout: VolumeLayout, case: Case) -> tuple[Scan, NDArray[np.uint8] | None]:
    """A scan with the classes of its voxels; None without a label."""
    scan = layout.read(case)
    marks = [aligned(mark, scan)[0] for mark in layout.read_label(case)]
    return scan, label_map(marks, case, layout) if marks else None


def _of_scan(scan: Scan) -> dict[str, Any]:
    # No copy of a volume where all is well, as nearly always.
    known = np.isfinite(scan.pixels)
    values = scan.pixels if known.all() else scan.pixels[known]
    if not values.size:
        raise UnreadableScan("holds not a single number")
    # A sample of a large volume tells its percentile well enough.
    high = np.percentile(values.ravel()[:: 1 + values.size // 10**6], 99.5)
    return {
        "digest": _digest(scan.pixels),
        "shape": scan.pixels.shape,
        "axes_mm": tuple(scan.affine[:3, :3].ravel().tolist()),
        "orientation": orientation_of(scan.affine),
        "stored": scan.stored,
        "modality": scan.modality,
        "low": float(values.min()),
        "high": float(high),
        "not_finite": int(known.size - values.size),
        "blank": bool(values.min() == values.max()),
    }


def _of_label(
    marks: Sequence[tuple[Scan, float]], case: Case, layout: VolumeLayout
) -> dict[str, Any]:
    if not marks:
        return {}
    classes = layout.classes()
    _check_number(len(marks), case, layout)
    scans = [scan for scan, _ in marks]
    marked = label_map(scans, case, layout)
    return {
        "label_digest": _digest(marked),
        "label_stored": scans[0].stored,
        "fractional": any(bool((np.rint(scan.pixels) != scan.pixels).any()) for scan in scans),
        # A mask for each class may say yes by any number, 255 say.
        "unknown": () if len(scans) > 1 or case.masks else _unknown(scans[0], case, layout),
        "voxels": tuple(voxels_of(marked, len(classes))),
        "overlapping": marked.ndim == 4,
        "gap_voxels": max(gap for _, gap in marks),
    }


def _check_number(masks: int, case: Case, layout: VolumeLayout) -> None:
    """Raises an `UnreadableScan` where files and classes of a case do not go together."""
    classes = len(case.classes or layout.classes())
    # A single file without `masks` is a label map, whatever the number of classes.
    if masks != classes and (masks > 1 or case.masks):
        raise UnreadableScan(
            f"masks found: {masks}, classes: {classes}; one mask for each class is needed"
        )


def _unknown(label: Scan, case: Case, layout: VolumeLayout) -> tuple[int, ...]:
    named = {0, *(value for own in layout.values_in(case).values() for value in own)}
    return tuple(sorted({int(value) for value in np.unique(whole_numbers(label))} - named)[:_TOLD])


def _digest(array: NDArray[Any]) -> str:
    """16 hexadecimal digits that two arrays share only if shape and values are the same."""
    # The shape too: a volume and its transpose may hold the same bytes.
    return sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[
        :16
    ]
