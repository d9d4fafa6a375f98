"""What would spoil a result on volumes, found before it does: faults of scans and masks."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import median

import numpy as np

from medistill.data.findings import Finding, Severity, find_traps
from medistill.data.volumes.facts import Facts
from medistill.data.volumes.layouts.base import Case
from medistill.modalities import modality_of
from medistill.scans import Preparation

_SEVERITIES = ("error", "warning", "note")
# Of what images and volumes share; the rest counts classes or pixels of an image.
_SHARED = {
    "unreadable", "identical_across_splits", "patients_across_splits", "empty_split",
    "repeated_rows", "image_of_several_patients", "identical_images", "blank",
}  # fmt: skip
_OFF_VOXELS = 0.1  # headers round their numbers, and a tenth of a voxel moves no surface
_ODD_SPACING = 2.0  # times as far apart as the median, or as near
_THICK = 3.0  # times as far apart as in the plane
_SPREAD = 10.0  # times as bright as another file of the set: units differ
_AIR_HU = -500  # a CT scan without any air shows no patient in a scanner


def find_volume_traps(
    cases: Sequence[Case],
    facts: Sequence[Facts],
    splits: Mapping[str, Iterable[int]],
    classes: Sequence[str],
    preparation: Preparation,
) -> list[Finding]:
    """Everything that was found, errors first.

    Args:
        cases: As the layout listed them.
        facts: One per case, from reading.
        splits: Positions of the cases by split.
        classes: Of the data set, in the order of each case's voxel counts.
        preparation: What is done to every scan.
    """
    parts = {name: list(map(int, rows)) for name, rows in splits.items()}
    data = _Data(cases, facts, parts, classes, preparation)
    own = chain.from_iterable(look(data) for look in _CHECKS)
    found = [*_shared_with_images(data), *own]
    return sorted(found, key=lambda finding: _SEVERITIES.index(finding.severity))


@dataclass(frozen=True)
class _Data:
    cases: Sequence[Case]
    facts: Sequence[Facts]
    splits: Mapping[str, list[int]]
    classes: Sequence[str]
    preparation: Preparation

    @property
    def read(self) -> list[Facts]:
        return [one for one in self.facts if one.digest]

    @property
    def labelled(self) -> list[Facts]:
        return [one for one in self.facts if one.labelled]

    def told(self, row: int) -> str | None:
        return self.cases[row].modality or modality_of(self.facts[row].modality)

    def modality(self, row: int) -> str:
        return self.told(row) or self.preparation.modality


def _shared_with_images(data: _Data) -> list[Finding]:
    samples, entries = [case.sample for case in data.cases], [one.entry for one in data.facts]
    return [
        replace(finding, message=finding.message.replace("images", "volumes"))
        for finding in find_traps(samples, entries, data.splits)
        if finding.kind in _SHARED
    ]


def _told(
    severity: Severity, kind: str, message: str, items: Sequence[str], among: int
) -> Iterator[Finding]:
    if items:
        count = f"{message}: {len(items)} of {among}"
        yield Finding(severity, kind, count, tuple(items))


def _shape_mismatch(data: _Data) -> Iterator[Finding]:
    items = [f"{one.source}: {one.error}" for one in data.facts if one.mismatch]
    message = "labels of another shape than their scan"
    yield from _told("error", "shape_mismatch", message, items, len(data.facts))


def _unknown_values(data: _Data) -> Iterator[Finding]:
    items = [
        f"{one.source}: {', '.join(map(str, one.unknown))}" for one in data.labelled if one.unknown
    ]
    message = "labels with values that no class claims (name them, or mend the files)"
    yield from _told("error", "unknown_label_values", message, items, len(data.labelled))


def _affine_mismatch(data: _Data) -> Iterator[Finding]:
    items = [
        f"{one.source}: {one.gap_voxels:.2g} voxels off"
        for one in data.labelled
        if one.gap_voxels > _OFF_VOXELS
    ]
    message = "labels whose header lays them elsewhere (they are taken voxel by voxel)"
    yield from _told("warning", "affine_mismatch", message, items, len(data.labelled))


def _not_finite(data: _Data) -> Iterator[Finding]:
    items = [f"{one.source}: {one.not_finite} voxels" for one in data.read if one.not_finite]
    message = "scans with values that are no numbers (NaN; they count as the lowest value)"
    yield from _told("warning", "not_finite", message, items, len(data.read))


def _two_places(data: _Data) -> Iterator[Finding]:
    items = [
        f"{one.source}: {one.forms_apart:.2g} voxels apart"
        for one in data.read
        if one.forms_apart > _OFF_VOXELS
    ]
    message = "headers whose sform and qform give different places (the sform counts)"
    yield from _told("warning", "two_places", message, items, len(data.read))


def _other_orientation(data: _Data) -> Iterator[Finding]:
    ours = data.preparation.orientation
    own = [case for case in data.cases if case.orientation not in ("", ours)]
    items = [f"{case.image}: {case.orientation}" for case in own]
    message = f"scans with an orientation_code of their own (set aside: all are turned to {ours})"
    yield from _told("warning", "other_orientation", message, items, len(data.cases))


def _empty_labels(data: _Data) -> Iterator[Finding]:
    items = [one.source for one in data.labelled if not sum(one.voxels)]
    message = "labels without a voxel of any class"
    yield from _told("warning", "empty_label", message, items, len(data.labelled))


def _odd_spacing(data: _Data) -> Iterator[Finding]:
    if not data.read:
        return
    way = data.preparation.frame, data.preparation.orientation
    spacings = np.array([one.spacing_mm(*way) for one in data.read])
    middle = np.median(spacings, axis=0)
    times = np.maximum(spacings / middle, middle / spacings).max(axis=1)
    items = [
        f"{one.source}: {_mm(one.spacing_mm(*way))}"
        for one, most in zip(data.read, times, strict=True)
        if most > _ODD_SPACING
    ]
    message = f"scans of a spacing far from the median, {_mm(middle.tolist())}"
    yield from _told("warning", "odd_spacing", message, items, len(data.read))


def _absent_classes(data: _Data) -> Iterator[Finding]:
    for name, rows in data.splits.items():
        counts = [data.facts[row].voxels for row in rows if data.facts[row].labelled]
        there = np.sum(counts, axis=0) if counts else np.zeros(len(data.classes))
        absent = [each for each, n in zip(data.classes, there, strict=True) if not n]
        if rows and absent and data.labelled:
            message = f"the {name} split has no voxel of {', '.join(absent)}"
            yield Finding("warning", "missing_class", message)


def _labels_differ(data: _Data) -> Iterator[Finding]:
    labels: dict[str, set[str]] = {}
    for one in data.labelled:
        labels.setdefault(one.digest, set()).add(one.label_digest)
    several = {digest for digest, own in labels.items() if len(own) > 1}
    items = [one.source for one in data.labelled if one.digest in several]
    message = "identical scans with different labels"
    yield from _told("warning", "conflicting_labels", message, items, len(data.labelled))


def _perhaps_another_modality(data: _Data) -> Iterator[Finding]:
    rows = [row for row, one in enumerate(data.facts) if one.digest]
    lows = {row: data.facts[row].low for row in rows}
    no_air = [data.facts[r].source for r in rows if data.modality(r) == "ct" and lows[r] > _AIR_HU]
    message = "CT scans without any air: are these Hounsfield units?"
    yield from _told("warning", "ct_without_air", message, no_air, len(rows))
    like_ct = [
        data.facts[r].source
        for r in rows
        # From padding (-3024 of some scanners) or air up to bone; magnets hardly measure below 0.
        if data.modality(r) == "mr" and -3100 < lows[r] <= -900 and data.facts[r].high > 100
    ]
    message = "scans that look like CT but are not called so (say it as `modality`)"
    yield from _told("warning", "perhaps_ct", message, like_ct, len(rows))


def _mixed_modalities(data: _Data) -> Iterator[Finding]:
    rows = [row for row, one in enumerate(data.facts) if one.digest]
    kinds = Counter(data.modality(row) for row in rows)
    if len(kinds) < 2:
        return
    counts = ", ".join(f"{kind.upper()} {n}" for kind, n in sorted(kinds.items()))
    message = f"modalities are mixed ({counts}): each has a treatment of its own"
    asked = "`predict` asks for --modality where a file does not tell"
    yield Finding("note", "mixed_modalities", f"{message}, and {asked}")
    items = [data.facts[row].source for row in rows if data.told(row) is None]
    message = f"scans of no known modality among others (they count as {data.preparation.modality})"
    yield from _told("warning", "unknown_modality", message, items, len(rows))


def _fractional(data: _Data) -> Iterator[Finding]:
    items = [one.source for one in data.labelled if one.fractional]
    message = "labels with values that are no whole numbers (they are rounded)"
    yield from _told("warning", "fractional_labels", message, items, len(data.labelled))


def _float_labels(data: _Data) -> Iterator[Finding]:
    items = [
        one.source
        for one in data.labelled
        if one.label_stored.startswith("float") and not one.fractional
    ]
    yield from _told("note", "float_labels", "labels stored as floats", items, len(data.labelled))


def _kinds_of_numbers(data: _Data) -> Iterator[Finding]:
    kinds = Counter(one.stored for one in data.read)
    if len(kinds) > 1:
        counts = ", ".join(f"{kind} {n}" for kind, n in kinds.most_common())
        yield Finding("note", "stored_types", f"scans are stored as different numbers: {counts}")


def _intensities(data: _Data) -> Iterator[Finding]:
    highs = sorted(one.high for one in data.read if one.high > 0)
    if highs and highs[-1] > _SPREAD * highs[0]:
        told = f"{highs[0]:.4g} to {highs[-1]:.4g}, median {median(highs):.4g}"
        message = f"intensities differ from file to file (99.5th percentile {told})"
        yield Finding("note", "intensities", f"{message}; each scan is normalised by itself")


def _unlabelled(data: _Data) -> Iterator[Finding]:
    items = [one.source for one in data.read if not one.labelled]
    yield from _told("note", "unlabelled", "scans without a label", items, len(data.read))


def _partly_known(data: _Data) -> Iterator[Finding]:
    items = [
        case.image for case in data.cases if case.classes and len(case.classes) < len(data.classes)
    ]
    message = "scans in which only some of the classes were looked for"
    yield from _told("note", "partial_labels", message, items, len(data.cases))


def _oblique(data: _Data) -> Iterator[Finding]:
    if data.preparation.frame is not None:
        message = (
            "slices lie between the axes of the body: scans are turned to directions of theirs"
        )
        yield Finding("note", "oblique", message)


def _thick_slices(data: _Data) -> Iterator[Finding]:
    spacing = data.preparation.spacing_mm
    if max(spacing) > _THICK * min(spacing):
        message = f"voxels are far from cubes: {_mm(spacing)}"
        yield Finding("note", "anisotropic", message)


def _sizes(data: _Data) -> Iterator[Finding]:
    if not data.read:
        return
    counts = ", ".join(f"{name} {len(rows)}" for name, rows in data.splits.items())
    shapes = np.array([one.shape for one in data.read])
    low, middle, high = (
        "x".join(str(int(n)) for n in row)
        for row in (shapes.min(0), np.median(shapes, axis=0), shapes.max(0))
    )
    turned = Counter(one.orientation for one in data.read).most_common()
    ways = ", ".join(f"{way} {n}" for way, n in turned)
    message = f"{len(data.read)} volumes ({counts}); voxels {low} to {high}, median {middle}"
    ready = f"prepared at {_mm(data.preparation.spacing_mm)}"
    yield Finding("note", "sizes", f"{message}; orientation {ways}; {ready}")


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in spacing) + " mm"


# The order in which a person should hear of them, within one severity.
_CHECKS: tuple[Callable[[_Data], Iterator[Finding]], ...] = (
    _shape_mismatch,
    _unknown_values,
    _affine_mismatch,
    _two_places,
    _other_orientation,
    _not_finite,
    _empty_labels,
    _fractional,
    _odd_spacing,
    _absent_classes,
    _labels_differ,
    _perhaps_another_modality,
    _mixed_modalities,
    _float_labels,
    _kinds_of_numbers,
    _intensities,
    _partly_known,
    _unlabelled,
    _oblique,
    _thick_slices,
    _sizes,
)
