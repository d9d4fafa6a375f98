"""What the model card of a segmentation network says otherwise than that of a classifier."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medistill.export.markdown import listed, section, table
from medistill.results import DeployedFolder

Tasks = Sequence[tuple[str, Mapping[str, Any]]]

FEW = 30  # volumes: a 95 % interval of a mean DSC is then often some 3 points wide


def use(tasks: Tasks) -> str:
    """What it outlines, and what it is not for."""
    answers = [f"- `{task}`: {listed(config['classes'])}" for task, config in tasks]
    return section(
        "Intended use",
        "Research, and evaluation on your own data before anything else. Each scan gets a mask on "
        "its own grid: 0 is the background, then the classes of a task in this order:",
        "\n".join(answers),
        "Out of scope: decisions about a patient, scans of other kinds or other parts of the body "
        "than those below, and volumes that nobody looks at before they are used.",
    )


def preprocessing(tasks: Tasks) -> str:
    """What is done to a scan before the network, and undone after it."""
    rows = [
        [
            task, _spaced(known.get("spacing_mm")), _turned(known),
            _intensities(config, known), _sides(config.get("patch")),
        ]
        for task, config in tasks
        for known in [config.get("preparation") or {}]
    ]  # fmt: skip
    return section(
        "Preprocessing",
        "The ONNX file carries the description of it, and `medistill predict` does it and undoes "
        "it: the scan is turned, resampled (linear; masks by the nearest voxel), cropped to its "
        "body, clipped, and brought to mean 0 and deviation 1. The network answers windows that "
        "half overlap, their probabilities are averaged with Gaussian weights, and a voxel takes "
        "the class of the largest mean probability if that is over 0.5.",
        table(["task", "voxels, mm", "orientation", "intensities", "window, voxels"], rows),
    )


def limits(tasks: Tasks) -> str:
    """What the numbers do not promise."""
    tests = {task: volumes_of(config).get("test", 0) for task, config in tasks}
    few = [task for task, count in tests.items() if 0 < count < FEW]
    return section(
        "Limitations",
        "- The intervals tell what another draw of patients from the same source would change; "
        "other scanners, sequences, contrast phases and populations can change more. Evaluate "
        "there: `medistill evaluate RUN --data ROOT`.\n"
        "- A mean over cases hides the worst of them: look at the worst cases in `report.html`.\n"
        "- Where a class is absent, finding nothing scores 1 and finding something 0. The HD95 is "
        "over the cases in which both surfaces exist: a missed organ is no part of it.\n"
        "- `unlike` flags scans of unusual spacing or intensities. It does not notice another "
        "organ or another disease.",
        f"- Few test volumes: {listed(few)}. Read the intervals, not the values." if few else "",
    )


def how_to(tasks: Tasks) -> str:
    """The command that outlines a scan."""
    path = DeployedFolder(Path("deployed", tasks[0][0])).onnx.as_posix()
    return section(
        "How to use",
        f"```bash\nmedistill predict {path} scan.nii.gz --out mask.nii.gz\n```",
        "A folder with the slices of a DICOM series does as well. The mask has the scan's grid, "
        "affine and header. numpy, nibabel and ONNX Runtime are all that this needs.",
    )


def volumes_of(config: Mapping[str, Any]) -> dict[str, int]:
    """How many volumes each split has."""
    return dict(config.get("volumes") or {})


def _spaced(spacing: Sequence[float] | None) -> str:
    return " x ".join(f"{step:.3g}" for step in spacing or ())


def _turned(known: Mapping[str, Any]) -> str:
    orientation = known.get("orientation") or ""
    if known.get("frame") is None:
        return orientation
    # A column for each axis, as R, A and S stand in a frame.
    axes = np.reshape(known["frame"], (3, 3)).T
    told = "; ".join(" ".join(f"{value:.2f}" for value in axis) for axis in axes)
    return f"{orientation} of a frame between the axes of the body ({told})"


def _intensities(config: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """By modality, where several were trained on."""
    several = config.get("modalities") or ()
    if len(several) < 2:
        return _intensity(known.get("modality"), known)
    return "; ".join(f"{one.upper()} {_intensity(one, known)}" for one in several)


def _intensity(modality: str | None, known: Mapping[str, Any]) -> str:
    if modality == "ct":
        low, high = known.get("window_hu") or (-500, 1000)
        return f"{low:g} to {high:g} HU"
    low, high = known.get("percentiles") or (0.5, 99.5)
    return f"percentiles {low:g} to {high:g}"


def _sides(patch: Sequence[int] | None) -> str:
    return " x ".join(map(str, patch or ()))
