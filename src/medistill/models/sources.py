"""Networks by the names that recipes use: a library's backbone, or a released foundation model."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from medistill import catalog
from medistill.errors import UserError
from medistill.models.backbones.base import Backbone, build_backbone
from medistill.models.checkpoints.base import CHECKPOINTS, Checkpoint, find_checkpoint
from medistill.models.matching import refused
from medistill.models.recognising import recognised
from medistill.models.state_files import read_state
from medistill.models.weights import WeightsReport, digest, file_digest, load_weights


@dataclass(frozen=True)
class Network:
    """A backbone with its weights.

    Args:
        backbone: It brings its normalisation.
        report: Where the weights came from.
        size: Side to which its images must be brought; None where it takes them as they are.
    """

    backbone: Backbone
    report: WeightsReport
    size: int | None


def load_network(
    name: str,
    weights: str | None,
    *,
    options: Mapping[str, Any] | None = None,
    size: int | None = None,
    shown: int | None = None,
    role: str = "teacher",
) -> Network:
    """A network with the weights, the normalisation and the size that belong together.

    Args:
        name: `timm/<name>`, `torchvision/<name>`, or that of a released model.
        weights: `random`, `pretrained`, or the path of a file.
        options: What else reaches the network's constructor.
        size: Side to which its images shall be brought.
        shown: Side of the images that a library's backbone must take as they are, if it must.
        role: How errors call it.

    Raises:
        UserError: A name, an option or a size that does not exist, or weights that do not fit.
    """
    released = find_checkpoint(name)
    if weights is None:
        raise UserError(_weights_missing(name, released, role))
    if released is not None:
        return _released(released, name, weights, dict(options or {}), size, role)
    if "/" not in name:
        raise UserError(_unknown(name))
    backbone = build_backbone(name, options)
    if size or shown:  # what it does not take is refused before anything takes long
        backbone.shapes(size or shown or 0)
    return Network(backbone, load_weights(backbone, weights, role=role), size)


def released_licence(name: str, weights: str | None) -> str | None:
    """The terms of a released model's weights; None where there are none, or none are known."""
    released = find_checkpoint(name)
    return released.licence if released and weights not in (None, "random") else None


def _released(
    checkpoint: type[Checkpoint],
    name: str,
    weights: str,
    options: dict[str, Any],
    size: int | None,
    role: str,
) -> Network:
    if "img_size" in options:
        raise UserError(f"{role}: {name} takes its size as `size: {options['img_size']}`.")
    if weights == "pretrained":
        raise UserError(f"{role} weights: {_where(checkpoint, name)}")
    if size is not None and size != checkpoint.size:
        _refuse_size(checkpoint, name, options, size, role)
    size = size or checkpoint.size
    if weights == "random":
        backbone = checkpoint.editions[0].network(size, options)
        return Network(backbone, WeightsReport("random", digest(backbone)), size)
    return _of_file(checkpoint, weights, options, size, role)


def _of_file(
    checkpoint: type[Checkpoint], weights: str, options: dict[str, Any], size: int, role: str
) -> Network:
    path = Path(weights).expanduser()
    state = read_state(path, role=role)
    edition = checkpoint.edition_of(state)
    # On the meta device it takes no memory, until the file's own tensors are put in.
    backbone = edition.released(options)
    # As released, whatever size is wanted: tables of positions are fitted once all else is.
    match = checkpoint.match(edition, backbone, state)
    if match.complaints:
        raise refused(role, match, recognised(state))
    if edition.positions not in (None, size):
        with torch.device("meta"):
            backbone = edition.network(size, options)
    edition.place(match.tensors(state), backbone)
    report = WeightsReport(weights, file_digest(path), tuple(match.unused))
    return Network(backbone, report, size)


def _refuse_size(
    checkpoint: type[Checkpoint], name: str, options: dict[str, Any], size: int, role: str
) -> None:
    """Refuse, before a file is read, images that the network cannot take, or would cut."""
    edition = checkpoint.editions[0]
    backbone = edition.released(options)
    if edition.positions is None:
        try:
            backbone.shapes(size)
        except UserError:
            way = "Choose a larger `size`"
        else:
            return
    else:
        step = edition.positions // backbone.shapes(edition.positions)[-1][-1]
        if size % step == 0:
            return
        way = f"Set `size` to a multiple of {step}, such as {max(1, round(size / step)) * step}"
    raise UserError(
        f"{role}: {name} does not take images of {size} pixels. {way}; as released it is shown "
        f"{checkpoint.size}."
    )


def _weights_missing(name: str, released: type[Checkpoint] | None, role: str) -> str:
    if released is not None:
        return f"{role}.weights is missing: {_where(released, name)}"
    return (
        f"{role}.weights is missing: name {name}'s weight file, `pretrained` (when online), or "
        f"`random` for a {role} that knows nothing."
    )


def _where(checkpoint: type[Checkpoint], name: str) -> str:
    return f"medistill fetches no {name}; name its file, from {checkpoint.found}."


def _unknown(name: str) -> str:
    names = catalog.available(CHECKPOINTS)
    close = get_close_matches(name.lower().replace("-", "_"), names, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else "`medistill list teachers` shows the choice."
    return f"Unknown model {name!r}: write timm/<name>, torchvision/<name> or a model's own. {hint}"
