"""`predict`: answers for new images or scans by an exported file alone; no torch."""

from collections.abc import Sequence
from pathlib import Path

from medistill.errors import UserError
from medistill.export.overlay import Overlays
from medistill.export.runtime import Model, find_images, predict_files
from medistill.export.session import is_segmentation, open_session
from medistill.results import DeployedFolder, RunFolder
from medistill.runs.console import Console
from medistill.scans import Modality

TABLE = Path("predictions.csv")


def predict(
    model: Path | str,
    images: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    explain: bool = False,
    per_class: bool = False,
    modality: Modality | None = None,
    console: Console | None = None,
) -> bool:
    """Predict images and folders of them into a table, or scans and folders of them into masks.

    Args:
        model: An exported `.onnx` file, or the folder of a run.
        images: Files and folders.
        out: Of images the table (default: `predictions.csv`): a row a file, a probability a class.
            Of scans the mask (default: `mask.nii.gz`), or a folder for several (default: `masks`).
        explain: Also draw where in each image the evidence for its class lies, into the folder
            `<out>-overlays` beside the table; its column `overlay` says which file is whose.
        per_class: Of scans, write a mask for each class, which may overlap.
        modality: `ct` or `mr`: what the scans are, where both were trained on and their files do
            not tell.
        console: Where to say what happens.

    Returns:
        Whether every file could be read.
    """
    console, file = console or Console(), _file(Path(model))
    session = open_session(file)
    inputs = [Path(image) for image in images]
    if is_segmentation(session):
        from medistill.runs.volumes.predicting import outline

        if explain:
            raise UserError("--explain is for images; of a scan the mask says where. Leave it out.")
        place = Path(out) if out is not None else None
        return outline(
            file, session, inputs, out=place, per_class=per_class, modality=modality,
            console=console,
        )  # fmt: skip
    if per_class:
        raise UserError(f"--per-class is for masks of scans, but {file} classifies images.")
    if modality is not None:
        raise UserError(f"--modality is for scans, but {file} classifies images. Leave it out.")
    loaded = Model(file, session=session)
    return _classify(loaded, inputs, Path(out) if out is not None else TABLE, explain, console)


def _classify(
    model: Model, inputs: Sequence[Path], table: Path, explain: bool, console: Console
) -> bool:
    overlays = _overlays(model, table) if explain else None
    with console.track("predicting", len(find_images(inputs))) as advance:
        summary = predict_files(
            model, inputs, table, lambda done, _: advance(done, ""), overlays=overlays
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
    """The exported file of a run or of one of its deployed networks, or the file itself."""
    if not model.is_dir():
        return model
    own = DeployedFolder(model).onnx
    if own.exists():
        return own
    run = RunFolder(model)
    files = [run.deployed(task).onnx for task in run.tasks() if run.deployed(task).onnx.exists()]
    if not files:
        raise UserError(
            f"{model} holds no exported network. Name an .onnx file, or the folder of a run that "
            "`medistill export` went through."
        )
    if len(files) > 1:
        found = ", ".join(map(str, files))
        raise UserError(f"{model} has {len(files)} exported files; name one: {found}.")
    return files[0]
