"""`predict` of scans: a mask on each scan's own grid, and how large each class is."""

from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from medistill.export.volume_runtime import (
    Outlined,
    VolumeModel,
    find_scans,
    holds_one,
    predict_scans,
)
from medistill.runs.console import Console
from medistill.scans import Modality

MASK, FOLDER = Path("mask.nii.gz"), Path("masks")


def outline(
    file: Path,
    session: onnxruntime.InferenceSession,
    inputs: Sequence[Path],
    *,
    out: Path | None,
    per_class: bool,
    modality: Modality | None,
    console: Console,
) -> bool:
    """Outline scans and folders of them; whether every one could be read.

    Args:
        file: The exported file.
        session: In which it is open.
        inputs: Scans, series, and folders of them.
        out: Mask of a single scan, or a folder for several.
        per_class: Write a mask for each class, which may overlap.
        modality: Of the scans, where several were trained on and they do not tell their own.
        console: Where to say what happens.
    """
    model = VolumeModel(file, session=session)
    if out is None:
        out = MASK if holds_one(inputs) else FOLDER
    numbers = ", ".join(f"{label} {name}" for label, name in enumerate(model.classes, start=1))
    console.say(f"{'a mask for each of' if per_class else 'labels:'} {numbers}")
    with console.track("outlining, in %", 100 * len(find_scans(inputs))) as advance:
        failures = predict_scans(
            model, inputs, out, per_class=per_class, modality=modality,
            on_scan=lambda found: _tell(found, console),
            on_progress=lambda done, _: advance(done, ""),
        )  # fmt: skip
    for scan, reason in failures.items():
        console.warn(f"{scan}: {reason}")
    return not failures


def _tell(found: Outlined, console: Console) -> None:
    sizes = ", ".join(f"{name} {ml:.1f} ml" for name, ml in found.volumes_ml.items())
    console.say(f"{found.scan}: {sizes}: {', '.join(map(str, found.masks))}")
    if found.unlike:
        console.warn(f"{found.scan} is unlike the training scans: {'; '.join(found.unlike)}")
