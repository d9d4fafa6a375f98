"""What a stopped training needs to go on as if it had never stopped."""

import errno
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO
from zipfile import is_zipfile

import torch

from medistill.errors import Failure, UserError
from medistill.training.randomness import RandomState

FORMAT = "medistill checkpoint 1"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training between two steps.

    The tensors are the training's own, not copies: save it before the next step.

    A method that changes its own shapes gets them back in `set_extra_state`, before the values: it
    rebuilds its children there, and `load_state_dict` then fills them. What changes must thus live
    in a child module (an `nn.ParameterList` is one), for a module's direct parameters are read
    before its extra state; and the extra state must be plain values and tensors.

    Args:
        method: State of the method, its `get_extra_state` included.
        optimizer: State of the optimiser.
        scaler: State of the loss scaling of fp16; empty without.
        step: How many steps are finished.
        steps_per_epoch: How many of them make an epoch.
        random: Where the random generators of each process stood.
        notes: The caller's own, such as the best value so far; what JSON can hold.
    """

    method: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    step: int
    steps_per_epoch: int
    random: list[RandomState]
    notes: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: Path, checkpoint: Checkpoint, *, notes: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint so that, whatever happens, the file is the earlier one or the new one.

    Args:
        path: Its folder must exist.
        checkpoint: What a step gave.
        notes: The caller's own, in place of those of the checkpoint; what JSON can hold.

    Raises:
        Failure: It cannot be written (the disk is full, say); an earlier file is as it was.
    """
    content = {name.name: getattr(checkpoint, name.name) for name in fields(checkpoint)}
    content["notes"] = json.dumps(checkpoint.notes if notes is None else dict(notes))
    # Through memory: torch hides a full disk behind an error of its own.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    # One name per checkpoint, so that what a killed process left is overwritten, not piled up.
    partial = path.with_name(f".{path.name}.partial")
    try:
        _write(partial, buffer.getbuffer())
        partial.replace(path)
        _settle(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Failure(f"Checkpoint {path} was not written: {_reason(error)}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, without executing anything that stands in it.

    Raises:
        UserError: There is no such file, or it is broken or foreign.
    """
    try:
        with path.open("rb") as file:
            content = _loaded(file)
    except OSError as error:
        raise UserError(f"Checkpoint {path} cannot be read: {error.strerror}.") from error
    except _Broken as error:
        raise UserError(f"Checkpoint {path} is broken or foreign. {_WAY_OUT}") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise UserError(f"{path} is no checkpoint of this version of medistill. {_WAY_OUT}")
    return Checkpoint(**{**content, "notes": json.loads(content["notes"])})


_WAY_OUT = "Delete it to start this run anew, or choose another --out."


class _Broken(Exception):
    """No plain file of torch, or not all of it."""


def _loaded(file: BinaryIO) -> Any:
    # Half a file is no zip; nor are old pickles, of which torch would warn before refusing them.
    if not is_zipfile(file):
        raise _Broken
    file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, LookupError, UnpicklingError) as error:
        raise _Broken from error


def _write(path: Path, content: memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _settle(folder: Path) -> None:
    """Make a rename outlast a power cut; Windows neither can nor needs to."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full. Free some space and resume; the earlier checkpoint is intact."
    return f"{error.strerror or error}. The earlier checkpoint, if any, is intact."
