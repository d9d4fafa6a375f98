"""Networks of MONAI: one output channel for each class, of which queries choose.

MONAI is imported when one is built, and not before.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import (
    BackboneSpec,
    check_options,
    first_line,
    last_of_each_size,
    unknown,
)
from medistill.models.segmenters.base import Segmenter, Sides
from medistill.types import Output

Walked = tuple[list[Tensor], Tensor]
"""Maps of the encoder, fine to coarse, and logits of every class."""


def _walk_unet(network: Any, images: Tensor) -> Walked:
    maps: list[Tensor] = []

    def down_and_up(block: nn.Module, shown: Tensor) -> Tensor:
        inside = getattr(block[1], "submodule", None) if isinstance(block, nn.Sequential) else None
        if inside is None:
            maps.append(block(shown))
            return maps[-1]
        down, _, up = cast(nn.Sequential, block)
        skipped = down(shown)
        maps.append(skipped)
        result: Tensor = up(torch.cat([skipped, down_and_up(inside, skipped)], dim=1))
        return result

    logits = down_and_up(network.model, images)
    return maps, logits


def _walk_dynunet(network: Any, images: Tensor) -> Walked:
    maps = [network.input_block(images)]
    for stage in (*network.downsamples, network.bottleneck):
        maps.append(stage(maps[-1]))
    decoded = maps[-1]
    for up, skipped in zip(network.upsamples, maps[-2::-1], strict=True):
        decoded = up(decoded, skipped)
    return maps, network.output_block(decoded)


def _walk_segresnet(network: Any, images: Tensor) -> Walked:
    coarsest, maps = network.encode(images)
    return maps, network.decode(coarsest, maps[::-1])


def _walk_swinunetr(network: Any, images: Tensor) -> Walked:
    a, b, c, d, e = network.swinViT(images, network.normalize)
    decoded = network.decoder5(network.encoder10(e), d)
    decoded = network.decoder4(decoded, network.encoder4(c))
    decoded = network.decoder3(decoded, network.encoder3(b))
    decoded = network.decoder2(decoded, network.encoder2(a))
    return [a, b, c, d, e], network.out(network.decoder1(decoded, network.encoder1(images)))


# Not by their own `forward`, which gives logits alone; a test holds the two equal.
_WALKS: dict[str, Callable[[Any, Tensor], Walked]] = {
    "DynUNet": _walk_dynunet,
    "SegResNet": _walk_segresnet,
    "SwinUNETR": _walk_swinunetr,
    "UNet": _walk_unet,
}
_STRIDES: dict[str, Callable[[Any], Sequence[int | Sequence[int]]]] = {
    "DynUNet": lambda network: network.strides,
    "SegResNet": lambda network: [2] * (len(network.blocks_down) - 1),
    "SwinUNETR": lambda network: [network.patch_size] * 5,
    "UNet": lambda network: network.strides[: len(network.channels) - 1],
}
_HEADS = {  # the last convolution; that of a UNet may be a transposed one, with classes second
    "DynUNet": "network.output_block.conv.conv",
    "SegResNet": "network.conv_final.2.conv",
    "SwinUNETR": "network.out.conv.conv",
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "DynUNet": {"kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "filters": [16, 32, 64, 128]},
    "SegResNet": {},
    "SwinUNETR": {},
    "UNet": {"channels": [16, 32, 64, 128], "strides": [2, 2, 2]},
}
_RESERVED = {"spatial_dims", "in_channels", "out_channels", "deep_supervision"}


class Monai(Segmenter):
    """A network of MONAI for volumes; its constructor's options are the recipe's.

    Where they are left out, those of a small network are taken; a DynUNet's strides say how it
    upsamples.
    """

    def __init__(
        self, architecture: str, options: Mapping[str, Any], vocabulary: Sequence[str]
    ) -> None:
        super().__init__(architecture, options, vocabulary)
        if architecture not in _WALKS:
            raise unknown("monai", architecture, self.names())
        self.spec = BackboneSpec(f"monai/{architecture}", dict(options))
        self.vocabulary = tuple(vocabulary)
        self.network = _network(self.spec, architecture, len(vocabulary))
        self.stride = _product(_STRIDES[architecture](self.network))
        self.walk = _WALKS[architecture]
        head = _HEADS.get(architecture)
        names = (f"{head}.weight", f"{head}.bias") if head else ()
        self._by_class = tuple(name for name in names if name in self.state_dict())
        # Four times the stride is what a norm of one sample surely takes.
        self.width = self.shapes([4 * step for step in self.stride])[-1][0]

    @staticmethod
    def names() -> list[str]:
        """Those that are built here."""
        return sorted(_WALKS)

    @property
    def by_class(self) -> tuple[str, ...]:
        """Weight and bias of the last convolution, where it is a plain one."""
        return self._by_class

    def forward(
        self, images: Float[Tensor, "batch 1 *space"], queries: Int[Tensor, "batch queries"]
    ) -> Output:
        """See `Segmenter.forward`."""
        found, logits = self.walk(self.network, images)
        maps = last_of_each_size(found)
        # A view without memory: `gather` wants an index for every voxel.
        index = queries.view(*queries.shape, 1, 1, 1).expand(-1, -1, *images.shape[2:])
        return Output(logits.gather(1, index), maps[-1].flatten(2).mean(dim=2), maps)


def _network(spec: BackboneSpec, architecture: str, classes: int) -> nn.Module:
    check_options(spec.name, spec.options, _RESERVED)
    for needed in ("monai", *(["einops"] if architecture == "SwinUNETR" else [])):
        if find_spec(needed) is None:
            raise UserError(f"{spec.name} needs {needed}: pip install 'medistill[seg]'.")
    from monai.networks import nets

    made = getattr(nets, architecture)
    options = {**_DEFAULTS[architecture], **spec.options}
    # Each stage goes up by as much as the encoder went down there; MONAI asks for both.
    if architecture == "DynUNet" and "upsample_kernel_size" not in options:
        options["upsample_kernel_size"] = options["strides"][1:]
    known = set(inspect.signature(made).parameters) - _RESERVED
    if strange := sorted(set(options) - known):
        told = ", ".join(sorted(known))
        raise UserError(f"{spec.name} has no option {strange[0]!r}. It has {told}.")
    try:
        network: nn.Module = made(spatial_dims=3, in_channels=1, out_channels=classes, **options)
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f"{spec.name}: {first_line(error)}.") from error
    if architecture == "DynUNet":
        # It holds every layer a second time, in the nesting of its own `forward`.
        network.skip_layers = nn.Identity()
    return network


def _product(strides: Sequence[int | Sequence[int]]) -> Sides:
    sides = [1, 1, 1]
    for stride in strides:
        steps = [stride] * 3 if isinstance(stride, int) else list(stride)
        sides = [a * b for a, b in zip(sides, steps, strict=True)]
    return (sides[0], sides[1], sides[2])
