"""The backbones of timm: convolutional networks, and vision transformers as grids of patches."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import timm
from huggingface_hub import constants as hub
from jaxtyping import Float
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import (
    Backbone,
    BackboneSpec,
    check_options,
    first_line,
    last_of_each_size,
    quarters,
    unknown,
)

_RESERVED = {"pretrained", "num_classes", "features_only", "checkpoint_path", "pretrained_cfg"}
_RESERVED |= {"pretrained_cfg_overlay", "cache_dir", "scriptable"}


class Timm(Backbone):
    """Any backbone of timm that ends in a map of features, or in patches that make one."""

    network: Any  # each with members of its own

    def __init__(self, architecture: str, options: Mapping[str, Any]) -> None:
        super().__init__(architecture, options)
        self.spec = BackboneSpec(f"timm/{architecture}", dict(options))
        check_options(self.spec.name, options, _RESERVED)
        self.network = _library_network(architecture, options)
        config = self.network.pretrained_cfg
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self.size = int(np.ravel(options.get("img_size", config["input_size"][-1]))[-1])
        self._finish()

    @staticmethod
    def names() -> list[str]:
        """Every architecture of timm."""
        return list(timm.list_models())

    def forward(self, images: Float[Tensor, "batch channels *space"]) -> tuple[Tensor, ...]:
        """The last map of each resolution; of a network without stages, that of each quarter."""
        if hasattr(self.network, "num_prefix_tokens"):
            return self._grids(images)
        last, maps = self.network.forward_intermediates(images)
        final = self._as_map(last, maps[-1])
        if len({each.shape[2:] for each in maps}) > 1:
            return last_of_each_size([*maps, final])
        return (*(maps[block] for block in quarters(len(maps))[:-1]), final)

    def pretrained(self) -> dict[str, Tensor]:
        """The weights of the architecture's tag, or of timm's default one."""
        architecture, options = self.spec.name.partition("/")[2], self.spec.options
        with _cache_alone() if _unreachable() else nullcontext():
            network = timm.create_model(architecture, pretrained=True, num_classes=0, **options)
        state: dict[str, Tensor] = network.state_dict()
        return state

    def _grids(self, images: Tensor) -> tuple[Tensor, ...]:
        # All pass the final norm: without it, a few channels outweigh all others, more so with
        # every block.
        blocks = quarters(len(self.network.feature_info))
        grids: list[Tensor] = self.network.forward_intermediates(
            images, indices=blocks, norm=True, intermediates_only=True
        )
        # Where timm normalises after pooling, fc_norm is the final norm: here it comes before.
        norm = getattr(self.network, "fc_norm", None)
        if norm is not None:
            grids = [norm(grid.movedim(1, -1)).movedim(-1, 1) for grid in grids]
        return tuple(grids)

    def _as_map(self, last: Any, like: Tensor) -> Tensor:
        if not isinstance(last, Tensor) or last.ndim not in (3, 4):
            raise UserError(f"{self.spec.name} ends in no map of features; choose another.")
        if last.ndim == 4:
            nhwc = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
            return last.movedim(-1, 1) if nhwc else last
        height, width = like.shape[2:]
        if last.shape[1] < height * width:
            raise UserError(f"{self.spec.name} ends in class tokens alone; choose another.")
        patches = last[:, -height * width :]  # class tokens stand before them
        return patches.mT.reshape(len(last), -1, height, width)


def _library_network(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    name = f"timm/{architecture}"
    if not timm.is_model(architecture):
        raise unknown("timm", architecture, Timm.names())
    try:
        network: nn.Module = timm.create_model(architecture, num_classes=0, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError(f"{name} refused options {dict(options)}: {first_line(error)}.") from error
    return network


def _unreachable() -> bool:
    """Whether the hub does not answer; asked once, because its client would retry for a minute."""
    address = urlsplit(hub.ENDPOINT)
    if getproxies():
        return False
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=5).close()
    except OSError:
        return True
    return False


@contextmanager
def _cache_alone() -> Iterator[None]:
    """Weights that were fetched before are still found; others are an error at once."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before
