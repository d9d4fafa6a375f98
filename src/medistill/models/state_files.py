"""The named tensors in a file of weights, out of the wrappings that checkpoints come in."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from medistill.errors import UserError
from medistill.models.backbones.base import first_line
from medistill.models.inert import ForbiddenError, Husk, read_inert, state_of

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "network_weights")
_OTHERS = {  # by what they begin with
    b"\x89HDF": "a Keras file (HDF5); name the PyTorch file of the same model",
    b"<!": "a web page, saved in place of the file; download it again",
    b"<html": "a web page, saved in place of the file; download it again",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; run `git lfs pull`",
}


def read_state(path: Path, *, role: str = "teacher") -> dict[str, Tensor]:
    """The named tensors in a safetensors file or a pickle.

    Never executes a pickle: only tensors and plain values are read, and of a pickled network of
    torch, torchvision or TorchXRayVision its tensors.

    Args:
        path: The file.
        role: How errors call the weights.

    Raises:
        UserError: The file is missing, or none of these.
    """
    if not path.is_file():
        raise UserError(f"{role} weights: no file at {path} (looked for {path.resolve()}).")
    try:
        content = load_file(path) if _is_safetensors(path) else _read_pickle(path)
    except Exception as error:  # bytes of any kind fail in many ways, and each is the file's
        raise _unreadable(path, error, role) from error
    return _unwrapped(content, path, role)


def _is_safetensors(path: Path) -> bool:
    return _beginning(path)[8:9] == b"{"


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


def _read_pickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        try:
            return read_inert(path)
        except ForbiddenError:
            raise
        except Exception:  # what torch says of a damaged file says more
            raise error from None


def _harmless() -> list[Any]:
    """What torch may import beside its own: types of numpy, and single numbers of them."""
    scalar = np.float64(0).__reduce__()[0]
    types = {type(np.dtype(code)) for code in np.typecodes["All"]}
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    return [np.dtype, *types, *((scalar, name) for name in names)]


def _unreadable(path: Path, error: Exception, role: str) -> UserError:
    where = f"{role} weights: {path}"
    beginning = _beginning(path)
    for first, told in _OTHERS.items():
        if beginning.startswith(first):
            return UserError(f"{where} is {told}.")
    if isinstance(error, ForbiddenError):
        return UserError(
            f"{where} is a pickle that asks for {error}, and could run code; nothing of it was "
            "executed. Convert its state dict to safetensors on a machine you trust."
        )
    if zipfile.is_zipfile(path) and (inside := _weights_inside(path)):
        return UserError(f"{where} is an archive; unpack it, and name a file in it ({inside}).")
    return UserError(
        f"{where} cannot be read as safetensors or as a pickled state dict ({first_line(error)})."
    )


def _weights_inside(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith((".pt", ".pth", ".safetensors"))]
    return ", ".join(names[:3])


def _unwrapped(content: Any, path: Path, role: str) -> dict[str, Tensor]:
    content = _innermost(content)
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{role} weights: {path} holds no named tensors; save a state dict.")
    return tensors


def _innermost(content: Any) -> Any:
    """What wrappings of a training hold at last; of a whole network its state."""
    while isinstance(content, Mapping) and (inner := _inside(content)):
        content = inner
    return state_of(content) if isinstance(content, Husk) else content


def _inside(content: Mapping[str, Any]) -> Mapping[str, Any] | Husk | None:
    found = (content.get(wrapping) for wrapping in _WRAPPINGS)
    return next((inner for inner in found if isinstance(inner, Mapping | Husk) and inner), None)
