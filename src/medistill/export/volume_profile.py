"""How the training scans looked, so that a deployed model can tell when a scan does not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medistill.scans import Scan, oriented_spacing_mm

Band = tuple[float, float]

QUANTILES = (0.005, 0.995)  # one odd training scan in 200 does not widen a band
SPACINGS = ("spacing to the right in mm", "spacing to the front in mm", "spacing upwards in mm")
FARTHER = 1.5  # spacings may leave their band by this factor
LOWEST, HIGHEST = "lowest value", "highest value"
BEYOND = 0.25  # values may leave theirs by this share of the whole range
SAMPLED = 10**6  # voxels tell a percentile well enough


@dataclass(frozen=True)
class ScanProfile:
    """Spacing and values of the training scans: bounds that 99 % of them keep.

    Args:
        bands: Lower and upper bound of each quantity that `quantities` names.
    """

    bands: Mapping[str, Band]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, float]]) -> "ScanProfile":
        """The profile of what `quantities` told of some scans."""
        found = list(rows)
        if not found:
            raise ValueError("A profile needs at least one scan.")
        return cls({name: _band([row[name] for row in found]) for name in found[0]})

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ScanProfile":
        """The profile that `as_document` described."""
        return cls({name: (float(low), float(high)) for name, (low, high) in document.items()})

    def as_document(self) -> dict[str, Any]:
        """The same in plain types, for JSON."""
        return {name: list(band) for name, band in self.bands.items()}

    def unlike(self, scan: Scan) -> list[str]:
        """Reasons why a scan is unlike the training scans; none for those that are alike."""
        return list(self._reasons(measure(scan)))

    def _reasons(self, measured: Mapping[str, float]) -> Iterator[str]:
        for name, (first, last) in self.bands.items():
            low, high = self._allowed(name)
            if not low <= measured[name] <= high:
                yield f"{name} {measured[name]:.4g} (training: {first:.4g} to {last:.4g})"

    def _allowed(self, name: str) -> Band:
        low, high = self.bands[name]
        if name in SPACINGS:
            return low / FARTHER, high * FARTHER
        slack = BEYOND * (self.bands[HIGHEST][1] - self.bands[LOWEST][0])
        return low - slack, high + slack


def quantities(spacing_mm: Sequence[float], low: float, high: float) -> dict[str, float]:
    """What a profile compares, by name.

    Args:
        spacing_mm: To the right, to the front and up.
        low: Lowest value of the file.
        high: 99.5th percentile of its values: a single bright voxel says little.
    """
    return {**dict(zip(SPACINGS, spacing_mm, strict=True)), LOWEST: low, HIGHEST: high}


def measure(scan: Scan) -> dict[str, float]:
    """The same of a scan as it was read; values that are no numbers do not count."""
    values = scan.pixels.ravel(order="K")
    known = values if np.isfinite(values).all() else values[np.isfinite(values)]
    if not known.size:
        known = np.zeros(1, np.float32)
    high = np.percentile(known[:: 1 + known.size // SAMPLED], 99.5)
    return quantities(oriented_spacing_mm(scan), float(known.min()), float(high))


def _band(values: list[float]) -> Band:
    low, high = np.quantile(np.array(values), QUANTILES)
    return float(low), float(high)
