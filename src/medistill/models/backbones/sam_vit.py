"""SAM's image encoder: a vision transformer with windows and tables of relative positions."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from jaxtyping import Float
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import (
    Backbone,
    BackboneSpec,
    check_options,
    first_line,
    quarters,
    unknown,
)

_SIZES: dict[str, dict[str, Any]] = {
    "vit_b": {"embed_dim": 768, "depth": 12, "num_heads": 12, "global_attn_indexes": (2, 5, 8, 11)},
    "vit_l": {
        "embed_dim": 1024, "depth": 24, "num_heads": 16, "global_attn_indexes": (5, 11, 17, 23),
    },
    "vit_h": {
        "embed_dim": 1280, "depth": 32, "num_heads": 16, "global_attn_indexes": (7, 15, 23, 31),
    },
}  # fmt: skip
_RESERVED = {"num_classes", "in_chans", "neck_chans", "norm_layer", "global_pool"}


class SamVit(Backbone):
    """SAM's image encoder up to its last block; the neck is made for SAM's decoder, and left out.

    Built of timm's blocks, with the epsilon of SAM's own norms: timm's default is ten times that.
    """

    network: Any  # with members of its own

    def __init__(self, architecture: str, options: Mapping[str, Any]) -> None:
        super().__init__(architecture, options)
        self.spec = BackboneSpec(f"sam_vit/{architecture}", dict(options))
        check_options(self.spec.name, options, _RESERVED)
        if architecture not in _SIZES:
            raise unknown("sam_vit", architecture, SamVit.names())
        try:
            self.network = VisionTransformerSAM(
                norm_layer=partial(nn.LayerNorm, eps=1e-6),  # type: ignore[arg-type]
                num_classes=0,
                **{"use_rel_pos": True, **_SIZES[architecture], **options},
            )
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise UserError(
                f"{self.spec.name} refused options {dict(options)}: {first_line(error)}."
            ) from error
        self.mean, self.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.size = int(options.get("img_size", 1024))
        self._finish()

    @staticmethod
    def names() -> list[str]:
        """The three sizes of SAM."""
        return list(_SIZES)

    def forward(self, images: Float[Tensor, "batch channels *space"]) -> tuple[Tensor, ...]:
        """The grids of patches after each quarter of the blocks."""
        blocks = quarters(len(self.network.blocks))
        grids: list[Tensor] = self.network.forward_intermediates(
            images, indices=blocks, intermediates_only=True
        )
        return tuple(grids)

    def pretrained(self) -> dict[str, Tensor]:
        """None is published by a library."""
        raise UserError("no library publishes them")
