"""Weights for a backbone: every tensor of the encoder finds its place, or nothing is loaded."""

import hashlib
import re
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import Backbone, build_backbone, first_line

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "network_weights")
_PREFIXES = (
    *("module.", "_orig_mod.", "model.", "encoder.", "backbone.", "network."),
    *("image_encoder.", "visual.trunk."),
)
_HEADS = ("fc", "classifier", "head", "head_dist", "last_linear", "aux1", "aux2", "AuxLogits")
_COUNTER = "num_batches_tracked"  # files from before torch 0.4.1 lack it; nothing depends on it
_GUESSES = {  # by a tensor that they share
    "layer4.1.conv2.weight": [f"torchvision/resnet{depth}" for depth in (18, 34, 50, 101)],
    "features.denseblock4.denselayer16.conv2.weight": ["torchvision/densenet121"],
    "features.0.0.weight": [
        f"torchvision/{name}"
        for name in ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0")
    ],
    "conv5.0.weight": ["torchvision/shufflenet_v2_x0_5", "torchvision/shufflenet_v2_x1_0"],
    "conv_stem.weight": ["timm/mobilenetv2_100", "timm/efficientnet_b0"],
    "patch_embed.proj.weight": [f"timm/vit_{w}_patch16_224" for w in ("tiny", "small", "base")],
}


@dataclass(frozen=True)
class WeightsReport:
    """Where weights came from.

    Args:
        source: `random`, `pretrained`, or the path of a file.
        sha256: Of the file; of the tensors where there is none.
        left_out: Tensors of the file that are not the encoder's, such as its head.
    """

    source: str
    sha256: str
    left_out: tuple[str, ...] = ()


def load_weights(
    backbone: Backbone, weights: str | Path, *, role: str = "teacher"
) -> WeightsReport:
    """Put weights into a backbone, all or nothing.

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
    with path.open("rb") as file:
        return WeightsReport(
            str(weights), hashlib.file_digest(file, "sha256").hexdigest(), left_out
        )


def digest(module: nn.Module) -> str:
    """The sha256 of all tensors of a module's state, with their names."""
    total = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def read_state(path: Path, *, role: str = "teacher") -> dict[str, Tensor]:
    """The named tensors in a file, out of the wrappings that checkpoints come in.

    Never executes a pickle: only tensors, plain values and numpy scalars are read.

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
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_pickle(path: Path) -> Any:
    scalar = np.float64(0).__reduce__()[0]
    harmless: list[Any] = [np.dtype, *{type(np.dtype(code)) for code in np.typecodes["All"]}]
    harmless += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    with torch.serialization.safe_globals(harmless):
        return torch.load(path, map_location="cpu", weights_only=True)


def _unreadable(path: Path, error: Exception, role: str) -> UserError:
    if forbidden := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return UserError(
            f"{role} weights: {path} is a pickle that asks for {forbidden[1]}, and could run code; "
            f"nothing of it was executed. Save the state dict alone, best as safetensors."
        )
    return UserError(
        f"{role} weights: {path} cannot be read as safetensors or as a pickled state dict "
        f"({first_line(error)})."
    )


def _unwrapped(content: Any, path: Path, role: str) -> dict[str, Tensor]:
    while isinstance(content, Mapping) and (inner := _inside(content)):
        content = inner
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{role} weights: {path} holds no named tensors; save a state dict.")
    return tensors


def _inside(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = (content.get(wrapping) for wrapping in _WRAPPINGS)
    return next((inner for inner in found if isinstance(inner, Mapping) and inner), None)


def _place(backbone: Backbone, state: Mapping[str, Tensor], role: str) -> tuple[str, ...]:
    """Load, and say which tensors of the file are left over."""
    encoder, complaints = _matched(backbone, state)
    if complaints:
        shown = ", ".join(complaints[:3]) + (", ..." if len(complaints) > 3 else "")
        total = max(len(backbone.network.state_dict()), len(state))
        raise UserError(
            f"{role} weights: {len(complaints)} of {total} encoder tensors found no place "
            f"({shown}); nothing was loaded. {_guess(state)}"
        )
    backbone.network.load_state_dict({n: state[key] for n, key in encoder.items()}, strict=False)
    return tuple(sorted(set(state) - set(encoder.values())))


def _matched(backbone: Backbone, state: Mapping[str, Tensor]) -> tuple[dict[str, str], list[str]]:
    """Key in the file of each tensor of the encoder, and what keeps it from being all of it."""
    wanted = backbone.network.state_dict()
    prefix = _prefix(wanted, state)
    given = {key.removeprefix(prefix): key for key in state if key.startswith(prefix)}
    found = {name: given[name] for name in wanted if name in given}
    complaints = _complaints(wanted, {name: state[key] for name, key in found.items()})
    # With the wrong names on one side, those on the other would count double.
    return found, complaints or _strange(backbone, set(given) - set(wanted))


def _complaints(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Tensors of the encoder that the file has in another shape, or not at all."""
    other = [
        f"{name} is {_shape(tensor)} in the file, not {_shape(wanted[name])}"
        for name, tensor in found.items()
        if tensor.shape != wanted[name].shape
    ]
    missing = [name for name in wanted if name not in found and not name.endswith(_COUNTER)]
    return other + [f"{name} is not in the file" for name in missing]


def _strange(backbone: Backbone, names: set[str]) -> list[str]:
    """Tensors beside the encoder's that are of no head that we know."""
    heads = {*_HEADS, *backbone.dropped}
    strange = sorted(name for name in names if name.partition(".")[0] not in heads)
    return [f"{name} is not in {backbone.spec.name}" for name in strange]


def _prefix(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Of the wrappers' names that keys begin with, what leaves the most names that are wanted."""
    hits = Counter({"": 0})
    for key in state:
        prefix, rest = "", key
        while rest:
            hits[prefix] += rest in wanted
            step = next((p for p in _PREFIXES if rest.startswith(p)), rest)
            prefix, rest = prefix + step, rest.removeprefix(step)
    return max(hits, key=lambda prefix: (hits[prefix], -len(prefix)))


def _guess(state: Mapping[str, Tensor]) -> str:
    """The common backbone whose tensors these are, by names and shapes."""
    endings = [key for key in _GUESSES if any(name.endswith(key) for name in state)]
    for name in (name for ending in endings for name in _GUESSES[ending]):
        with torch.device("meta"):
            candidate = build_backbone(name)
        if not _matched(candidate, state)[1]:
            return f"Is this {name}?"
    first = next(iter(state))
    return f"The file begins with {first} {_shape(state[first])}: check `name` and `options`."


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


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
