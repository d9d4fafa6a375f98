"""A file in ONNX Runtime and the document that it carries; nothing else is needed to open it."""

import json
from pathlib import Path
from typing import Any

import onnxruntime

from medistill.errors import UserError

KEY = "medistill"  # of the metadata entry


def open_session(path: Path, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A session of ONNX Runtime on the CPU.

    Raises:
        UserError: The file is missing, or no ONNX file.
    """
    if not path.is_file():
        raise UserError(f"No model at {path} (looked for {path.resolve()}).")
    onnxruntime.set_default_logger_severity(3)  # it warns of graphics cards that it cannot find
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base
        raise UserError(f"{path} cannot be loaded as ONNX: {one_line(error)}") from error


def carried(session: onnxruntime.InferenceSession, path: Path) -> str:
    """The JSON that a file of ours carries.

    Raises:
        UserError: It carries none.
    """
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise UserError(f"{path} was not written by medistill export: it names no classes.")
    return str(text)


def is_segmentation(session: onnxruntime.InferenceSession) -> bool:
    """Whether a file outlines volumes; False for one that classifies images, or is not ours."""
    try:
        document: Any = json.loads(session.get_modelmeta().custom_metadata_map.get(KEY, "{}"))
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("kind") == "segmentation"


def unusable(path: Path, error: Exception) -> UserError:
    """What to raise when a file's document makes no sense."""
    reason = f"{type(error).__name__}: {one_line(error)}"
    return UserError(f"{path}: its metadata cannot be used ({reason}).")


def one_line(error: BaseException) -> str:
    """What an error says, however many lines it takes for that."""
    return " ".join(str(error).split()) or type(error).__name__
