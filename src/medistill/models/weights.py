"""Weights for a backbone: every tensor of the encoder finds its place, or nothing is loaded."""

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import Backbone, first_line
from medistill.models.matching import refused
from medistill.models.recognising import match_library, recognised
from medistill.models.state_files import read_state


@dataclass(frozen=True)
class WeightsReport:
    """Where weights came from.

    Args:
        source: `random`, `pretrained`, or the path of a file.
        sha256: Of the file; of the tensors where there is none.
        left_out: Tensors of the file that are not the encoder's, such as its head.
        licence: Of a released file that was recognised; None where none is known.
        released: Whether the file is a segmenter's, by the names of those who released it.
    """

    source: str
    sha256: str
    left_out: tuple[str, ...] = ()
    licence: str | None = None
    released: bool = False


def load_weights(
    backbone: Backbone, weights: str | Path, *, role: str = "teacher"
) -> WeightsReport:
    """Put weights into a library's backbone, all or nothing.

    Args:
        backbone: Changed in place.
        weights: `random` keeps those it has, `pretrained` means the library's own, and anything
            else is the path of a safetensors file or of a pickled state dict.
        role: How errors call the weights.

    Raises:
        UserError: No such file, no network, a pickle that asks to run code, or a tensor of the
            encoder that finds no place.
    """
    if weights == "random":
        return WeightsReport("random", digest(backbone))
    if weights == "pretrained":
        left_out = _place(backbone, _published(backbone, role), role)
        return WeightsReport("pretrained", digest(backbone), left_out)
    path = Path(weights).expanduser()
    left_out = _place(backbone, read_state(path, role=role), role)
    return WeightsReport(str(weights), file_digest(path), left_out)


def digest(module: nn.Module) -> str:
    """The sha256 of all tensors of a module's state, with their names."""
    total = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _place(backbone: Backbone, state: Mapping[str, Tensor], role: str) -> tuple[str, ...]:
    """Load, and say which tensors of the file are left over."""
    match = match_library(backbone, state)
    if match.complaints:
        raise refused(role, match, recognised(state))
    backbone.network.load_state_dict(match.tensors(state), strict=False)
    return tuple(match.unused)


def _published(backbone: Backbone, role: str) -> dict[str, Tensor]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)  # seconds; a silent network would hold us for minutes
    try:
        return backbone.pretrained()
    except Exception as error:  # each library fails in its own ways
        raise UserError(
            f"{role} weights: those published for {backbone.spec.name} could not be had "
            f"({first_line(error)}). Name a file with `weights: PATH`, or write `weights: random`."
        ) from error
    finally:
        socket.setdefaulttimeout(before)
