"""What all adapters have in common: they are inserted into an encoder, and known by their name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any, Literal, TypeVar

from torch import nn

from medistill import catalog
from medistill.errors import UserError
from medistill.models.adapters._trunk import PlainTrunk, Trunk
from medistill.models.backbones.base import Backbone
from medistill.models.networks import Encoder

PACKAGE = "medistill.models.adapters"
Pooling = Literal["class_token", "patches"]
"""What a head reads beside tokens of adapters: the class token, as published, or the mean patch.

A transformer without a class token has its patches read.
"""

_Module = TypeVar("_Module", bound=nn.Module)


class AdaptedEncoder(Encoder, ABC):
    """A foundation model's encoder with small parts inserted, beside or around its own.

    A subclass takes the plain encoder, which it leaves as it is though the two share all tensors;
    its keyword-only parameters are settings. Both together say how to insert the same again.

    Args:
        encoder: The plain one.
        backbone: That of the encoder, or a copy around the same tensors.
        settings: All of the subclass's keyword-only parameters; plain values.
    """

    @abstractmethod
    def __init__(self, encoder: Encoder, backbone: Backbone, settings: Mapping[str, Any]) -> None:
        super().__init__(
            backbone,
            mean=encoder.mean,
            std=encoder.std,
            stretch=encoder.stretch,
            size=encoder.size,
        )
        self.shown = encoder.shown
        self.settings = dict(settings)

    @property
    def adapters(self) -> dict[str, Any]:
        """Name and settings, from which `with_adapters` inserts the same again."""
        return {"name": _name(self), "settings": self.settings}


def with_adapters(encoder: Encoder, name: str, settings: Mapping[str, Any]) -> AdaptedEncoder:
    """An encoder with new adapters, by the name of their file; the encoder itself is left as it is.

    Raises:
        UserError: The encoder is no transformer that they fit into.
    """
    kind = catalog.find(PACKAGE, name, AdaptedEncoder)  # type: ignore[type-abstract]
    return kind(encoder, **settings)


def trunk_of(encoder: Encoder) -> Trunk:
    """The transformer inside an encoder, as adapters meet it.

    Raises:
        UserError: There is none that adapters fit into, or it has adapters already.
    """
    if isinstance(encoder, AdaptedEncoder):
        raise UserError(
            f"The student has adapters already ({_name(encoder)}). Name the run or the weights "
            "that it was tuned from."
        )
    network: Any = encoder.backbone.network
    for kind, block_kind, trunk in _kinds():
        if isinstance(network, kind) and _consists_of(block_kind, blocks_of(encoder.backbone)):
            return trunk(network)
    raise UserError(
        f"Adapters do not fit into {encoder.backbone.spec.name}: they need a plain or a windowed "
        "(SAM) vision transformer of timm, such as timm/vit_tiny_patch16_224."
    )


def plain(encoder: Encoder, backbone: Backbone) -> Encoder:
    """An encoder without adapters that sees images as another does."""
    bare = Encoder(
        backbone, mean=encoder.mean, std=encoder.std, stretch=encoder.stretch, size=encoder.size
    )
    bare.shown = encoder.shown
    return bare


def apart(module: _Module) -> _Module:
    """A copy around the very same tensors, whose children can be exchanged."""
    # deepcopy takes what is in its memo for copied: structure is new, and numbers are shared.
    tensors = chain(module.parameters(), module.buffers())
    return deepcopy(module, memo={id(tensor): tensor for tensor in tensors})


def blocks_of(backbone: Backbone) -> list[Any]:
    """The blocks of a backbone that is a transformer."""
    network: Any = backbone.network
    return list(network.blocks)


def hold_still(module: nn.Module) -> None:
    """Leave only what is trained whole in training mode: what is frozen, and what holds it, rests.

    Dropout and stochastic depth of a frozen network would disturb what it knows.
    """
    parameters = list(module.parameters())
    # A dropout has no parameters of its own: whatever holds it decides.
    if parameters and all(parameter.requires_grad for parameter in parameters):
        return
    module.training = False
    for child in module.children():
        hold_still(child)


def refuse_absent_block(setting: str, block: int, depth: int) -> None:
    """Refuse a setting that names a block which a network does not have."""
    if block >= depth:
        raise UserError(
            f"{setting} is {block}, but the student has {depth} blocks. "
            f"Set it between 0 and {depth - 1}."
        )


def _kinds() -> tuple[tuple[type, type, type[Trunk]], ...]:
    """Networks, the blocks that they must consist of, and the trunks that follow them."""
    # Here, so that whoever deals with no transformer does not wait for timm.
    from timm.models import vision_transformer, vision_transformer_sam

    from medistill.models.adapters._windowed import WindowedTrunk

    sam = vision_transformer_sam
    return (
        (vision_transformer.VisionTransformer, vision_transformer.Block, PlainTrunk),
        (sam.VisionTransformerSAM, sam.Block, WindowedTrunk),
    )


def _consists_of(kind: type, blocks: Sequence[Any]) -> bool:
    """Whether a trunk can follow every block."""
    return all(isinstance(block, kind) and _followed(block) for block in blocks)


def _followed(block: Any) -> bool:
    """Whether attention is the plain one of the papers, whose steps a trunk repeats."""
    attention = block.attn
    plain = isinstance(getattr(attention, "norm", None), nn.Identity | None)
    turned = any(getattr(attention, name, None) is not None for name in ("rope", "gate"))
    return isinstance(attention.qkv, nn.Linear) and plain and not turned


def _name(encoder: AdaptedEncoder) -> str:
    return type(encoder).__module__.rpartition(".")[2]
