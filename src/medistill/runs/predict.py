"""`predict`: probabilities for new images by an exported file alone; no torch."""

from collections.abc import Sequence
from pathlib import Path

from medistill.errors import UserError
from medistill.export.overlay import Overlays
from medistill.export.runtime import Model, find_images, predict_files
from medistill.results import RunFolder
from medistill.runs.console import Console


def predict(
    model: Path | str,
    images: Sequence[Path | str],
    *,
    out: Path | str = "predictions.csv",
    explain: bool = False,
    console: Console | None = None,
) -> bool:
    """Predict images and folders of them into a table.

    Args:
        model: An exported `.onnx` file, or the folder of a run.
        images: Files and folders.
        out: The table: a row a file, a probability a class.
        explain: Also draw where in each image the evidence for its class lies, into the folder
            `<out>-overlays` beside the table; its column `overlay` says which file is whose.
        console: Where to say what happens.

    Returns:
        Whether every file could be read.
    """
    console, table = console or Console(), Path(out)
    loaded = Model(_file(Path(model)))
    overlays = _overlays(loaded, table) if explain else None
    inputs = [Path(image) for image in images]
    with console.track("predicting", len(find_images(inputs))) as advance:
        summary = predict_files(
            loaded, inputs, table, lambda done, _: advance(done, ""), overlays=overlays
        )
    console.say(f"{summary.written} images predicted: {table}")
    if overlays is not None:
        console.say(f"where the evidence lies: {overlays.folder}")
    if summary.flagged:
        console.warn(f"{summary.flagged} are unlike the training images; see column `unlike`.")
    for name, reason in summary.failures.items():
        console.warn(f"{name}: {reason}")
    return not summary.failures


def _overlays(model: Model, table: Path) -> Overlays:
    """A folder beside the table, if the file says where the evidence lies."""
    assert model.evidence
    return Overlays(table.with_name(f"{table.stem}-overlays"))


def _file(model: Path) -> Path:
    """The exported file of a run, or the file itself."""
    if not model.is_dir():
        return model
    run = RunFolder(model)
    files = [run.deployed(task).onnx for task in run.tasks() if run.deployed(task).onnx.exists()]
    if len(files) != 1:
        found = ", ".join(map(str, files)) or "none"
        raise UserError(f"{model} has {len(files)} exported files; name one: {found}.")
    return files[0]
