"""Using an exported segmenter: numpy, nibabel and ONNX Runtime are all it takes; no torch.

DICOM series need pydicom too.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime

from medistill.errors import UserError
from medistill.export.session import carried, one_line, open_session, unusable
from medistill.export.volume_metadata import VolumeMetadata
from medistill.scans import Modality, Scan, UnreadableScan, prepare, read_scan, restore, write_mask
from medistill.series import holds_series
from medistill.shapes import Float32, UInt8
from medistill.windows import Progress, Rule, segment

SUFFIXES = (".nii.gz", ".nii")

Labels: TypeAlias = UInt8[np.ndarray, "*masks x y z"]


@dataclass(frozen=True)
class Outlined:
    """What came of one scan.

    Args:
        scan: The file, or the folder of its series.
        masks: The files that were written: a label map, or a mask for each class.
        volumes_ml: Of each class.
        unlike: Why the scan is unlike the training scans; usually nothing.
    """

    scan: Path
    masks: tuple[Path, ...]
    volumes_ml: dict[str, float]
    unlike: list[str]


class VolumeModel:
    """An exported segmenter: a scan in, a mask on the scan's own grid out.

    Args:
        path: The `.onnx` file.
        threads: As many as ONNX Runtime may use; all cores by default.
        session: Of the file, if it is open already.

    Raises:
        UserError: The file is missing, broken, or was not made by medistill.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        session: onnxruntime.InferenceSession | None = None,
    ) -> None:
        self.path = path
        self.session = session or open_session(path, threads)
        text = carried(self.session, path)
        try:
            self.metadata = VolumeMetadata.from_json(text)
        except (KeyError, TypeError, ValueError) as error:
            raise unusable(path, error) from error

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: class c has the label c + 1."""
        return self.metadata.classes

    def outline(
        self,
        scan: Scan,
        *,
        per_class: bool = False,
        modality: Modality | None = None,
        on_progress: Progress | None = None,
    ) -> Labels:
        """Labels on the scan's own grid: 0 is background; or a mask of 0 and 1 for each class.

        Args:
            scan: As it was read.
            per_class: Whether classes may overlap.
            modality: Of the scan, where several were trained on and it does not tell its own.
            on_progress: Told after each patch.

        Raises:
            UserError: Several were, and nothing tells it; or it was not trained on.
        """
        prepared = prepare(scan, self.metadata.preparation_of(scan, modality))
        labels = segment(
            self._probabilities,
            prepared.image,
            patch=self.metadata.patch,
            classes=len(self.classes),
            rule=Rule(
                overlap=self.metadata.overlap,
                threshold=self.metadata.threshold,
                per_class=per_class,
            ),
            on_progress=on_progress,
        )
        return restore(labels, prepared.trace)

    def unlike(self, scan: Scan) -> list[str]:
        """Reasons why a scan is unlike the training scans."""
        known = self.metadata.trained_on
        found = []
        if scan.modality.lower() in {"ct", "mr"} - {*known}:
            found.append(f"modality {scan.modality} (training: {known[0].upper()})")
        unknown = scan.pixels.size - np.count_nonzero(np.isfinite(scan.pixels))
        if unknown:
            found.append(f"{unknown} voxels are no numbers (they count as the lowest value)")
        profile = self.metadata.profile
        return found + (profile.unlike(scan) if profile else [])

    def predict(
        self,
        path: Path,
        out: Path,
        *,
        per_class: bool = False,
        modality: Modality | None = None,
        on_progress: Progress | None = None,
    ) -> Outlined:
        """Outline a scan and write the masks, with its grid, affine and header.

        Args:
            path: `.nii`, `.nii.gz`, or the folder of a DICOM series.
            out: The label map; with `per_class`, `mask.nii.gz` stands for `mask-1-liver.nii.gz`
                and so on.
            per_class: Write a mask for each class instead, which may overlap.
            modality: As `outline` takes it.
            on_progress: Told after each patch.

        Raises:
            UserError: The scan cannot be read, or a mask would replace it or cannot be written;
                or as `outline`.
        """
        masks = self.masks(out) if per_class else (out,)
        if path.resolve() in {mask.resolve() for mask in masks}:
            raise UserError(f"{out} is the scan itself; name another file for the mask.")
        scan = read_scan(path)
        found = self.outline(scan, per_class=per_class, modality=modality, on_progress=on_progress)
        for mask, labels in zip(masks, found if per_class else [found], strict=True):
            write_mask(mask, labels, scan)
        return Outlined(path, masks, self._volumes_ml(found, scan, per_class), self.unlike(scan))

    def masks(self, out: Path) -> tuple[Path, ...]:
        """The files of one mask per class, which a label map would be called `out`."""
        stem, suffix = _split(Path(out.name))
        names = [re.sub(r"[^\w.-]+", "_", name) for name in self.classes]
        return tuple(
            out.with_name(f"{stem}-{number}-{name}{suffix}")
            for number, name in enumerate(names, start=1)
        )

    def _volumes_ml(self, found: Labels, scan: Scan, per_class: bool) -> dict[str, float]:
        if per_class:
            counts = [int(np.count_nonzero(mask)) for mask in found]
        else:
            counts = np.bincount(found.ravel(), minlength=len(self.classes) + 1)[1:].tolist()
        voxel_ml = abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000
        return {name: n * voxel_ml for name, n in zip(self.classes, counts, strict=True)}

    def _probabilities(
        self, patches: Float32[np.ndarray, "batch 1 a b c"]
    ) -> Float32[np.ndarray, "batch classes a b c"]:
        found: Float32[np.ndarray, "batch classes a b c"]
        (found,) = self.session.run(["probabilities"], {"patches": patches})
        return found


def predict_scans(
    model: VolumeModel,
    inputs: Sequence[Path],
    out: Path,
    *,
    per_class: bool = False,
    modality: Modality | None = None,
    on_scan: Callable[[Outlined], None] | None = None,
    on_progress: Progress | None = None,
) -> dict[Path, str]:
    """Outline scans and folders of them; one that cannot be read is left out, the rest goes on.

    Args:
        model: What predicts.
        inputs: Scans, series, and folders, searched for both.
        out: The mask of a single scan, by its suffix; else a folder for masks that are called like
            their scans.
        per_class: Write a mask for each class, which may overlap.
        modality: Of all of them, where several were trained on; a scan that tells none is left out
            otherwise.
        on_scan: Told of each scan that is done.
        on_progress: Told after each patch: hundredths of scans that are done, and in all.

    Returns:
        The scans that could not be read, and why.

    Raises:
        UserError: An input is missing, there is no scan at all, a mask would replace a scan or
            another mask, or cannot be written; or the modality was not trained on.
    """
    planned = plan(model, inputs, out, per_class=per_class)
    failures = {}
    for number, (scan, mask) in enumerate(planned):
        tell = _hundredths(on_progress, number, len(planned)) if on_progress else None
        try:
            found = model.predict(
                scan, mask, per_class=per_class, modality=modality, on_progress=tell
            )
        except UnreadableScan as error:
            failures[scan] = one_line(error).removeprefix(f"{scan}: ")
        except UserError:
            raise
        except Exception as error:  # one odd file must not end a night's work
            failures[scan] = one_line(error)
        else:
            if on_scan:
                on_scan(found)
    return failures


def plan(
    model: VolumeModel, inputs: Sequence[Path], out: Path, *, per_class: bool = False
) -> list[tuple[Path, Path]]:
    """Each scan that some files and folders stand for, and its mask; errors as `predict_scans`."""
    found = find_scans(inputs)
    single = out.name.endswith(SUFFIXES)
    if single and len(found) > 1:
        raise UserError(f"{out} is one file for {len(found)} scans; name a folder for the masks.")
    if single and out.is_dir():
        raise UserError(f"{out} is a folder; name a file for the mask, such as {out}/mask.nii.gz.")
    named = {scan: out if single else out / f"{name}.nii.gz" for scan, name in found.items()}
    _refuse_clashes({s: model.masks(m) if per_class else (m,) for s, m in named.items()})
    return list(named.items())


def _refuse_clashes(files: Mapping[Path, Sequence[Path]]) -> None:
    """Refuse to write over a scan, or one mask over another."""
    scans = {scan.resolve() for scan in files}
    taken: dict[Path, Path] = {}
    for scan, masks in files.items():
        for file in masks:
            whole = file.resolve()
            if whole in scans:
                raise UserError(f"{file} is one of the scans; name another place for the masks.")
            if taken.setdefault(whole, scan) is not scan:
                raise UserError(
                    f"{file} would be the mask of {taken[whole]} and of {scan}. Predict them into "
                    "folders of their own."
                )


def find_scans(inputs: Sequence[Path]) -> dict[Path, str]:
    """Scans that some files and folders stand for, each once, with names for their masks.

    Raises:
        UserError: An input is missing, or there is no scan at all.
    """
    found: dict[Path, str] = {}
    for given in inputs:
        if not given.exists():
            raise UserError(f"No file or folder {given} (looked for {given.resolve()}).")
        if given.is_file() or holds_series(given):
            found.setdefault(given, _split(Path(given.name or given.resolve().name))[0])
        else:
            for scan in _below(given):
                found.setdefault(scan, _split(scan.relative_to(given))[0])
    if not found:
        told = ", ".join(map(str, inputs)) or "no folder at all"
        raise UserError(f"No scan in {told}: neither .nii.gz, nor .nii, nor a series of DICOM.")
    return found


def holds_one(inputs: Sequence[Path]) -> bool:
    """Whether a person names one scan, and no folder that might hold more of them."""
    return len(inputs) == 1 and (not inputs[0].is_dir() or holds_series(inputs[0]))


def _below(folder: Path) -> Iterator[Path]:
    """Volumes in a folder and its folders, and those of them that hold a series."""
    for parent, folders, names in os.walk(folder):
        folders[:] = _visible(folders)
        here = Path(parent)
        if holds_series(here):
            yield here
        for name in _visible(names):
            if name.lower().endswith(SUFFIXES):
                yield here / name


def _visible(names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def _split(path: Path) -> tuple[str, str]:
    """A path without the suffix of a volume, and that suffix."""
    name = path.as_posix()
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s)), "")
    return name.removesuffix(name[len(name) - len(suffix) :]), suffix


def _hundredths(on_progress: Progress, number: int, scans: int) -> Progress:
    return lambda done, total: on_progress(100 * number + 100 * done // total, 100 * scans)
