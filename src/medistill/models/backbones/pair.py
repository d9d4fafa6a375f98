"""Two backbones as one: their last maps are added."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import Backbone, BackboneSpec, build_backbone
from medistill.models.scales import averaged

_PARTS = {"common", "own"}


class Branch(nn.Module):
    """A backbone whose last map is brought to the shape of another's.

    Args:
        backbone: What makes the map.
        width: Channels to which a linear layer brings it; there is none where it has as many.
    """

    def __init__(self, backbone: Backbone, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        same = backbone.width == width
        # At each place of the map: before the average the same as after it.
        self.project = nn.Identity() if same else nn.Conv2d(backbone.width, width, 1, bias=False)

    def forward(
        self, images: Float[Tensor, "batch channels *space"], space: tuple[int, ...]
    ) -> Tensor:
        """The map of normalised images, averaged to a size."""
        return averaged(self.project(self.backbone(images)[-1]), space)


class Pair(Backbone):
    """A large backbone to whose last map that of a small one is added.

    It is called `pair/<large>+<small>`, options of either stand under `common` and `own`, and
    normalisation and maps are the large one's. Knowledge factorization deploys such pairs.
    """

    def __init__(self, architecture: str, options: Mapping[str, Any]) -> None:
        super().__init__(architecture, options)
        first, plus, second = architecture.partition("+")
        if not plus:
            raise UserError(f"pair/{architecture} is no pair: write pair/<large>+<small>.")
        for option in sorted(set(options) - _PARTS):
            raise UserError(f"pair/{architecture}: {option!r} is neither `common` nor `own`.")
        common = build_backbone(first, options.get("common"))
        small = build_backbone(second, options.get("own"))
        self._hold(common, Branch(small, common.width))

    @classmethod
    def of(cls, common: Backbone, own: Branch) -> "Pair":
        """A pair of two that there are already; it shares their weights."""
        pair = cls.__new__(cls)
        nn.Module.__init__(pair)
        pair._hold(common, own)
        return pair

    @staticmethod
    def names() -> list[str]:
        """Any two backbones make one: nobody could list them."""
        return []

    def forward(self, images: Float[Tensor, "batch channels *space"]) -> tuple[Tensor, ...]:
        """The maps of the large one, to the last of which that of the small one is added."""
        *finer, last = self.common(images)
        return (*finer, last + self.own(images, tuple(last.shape[2:])))

    def pretrained(self) -> dict[str, Tensor]:
        """None is published for two together."""
        raise UserError("no library publishes them for a pair")

    def shapes(self, size: int) -> tuple[tuple[int, ...], ...]:
        """Channels, height and width of each map, for images of `size` x `size`.

        Raises:
            UserError: One of the two does not take images of this size.
        """
        self.own.backbone.shapes(size)
        return self.common.shapes(size)

    @property
    def common(self) -> Backbone:
        """The large one."""
        part = self.network.common
        assert isinstance(part, Backbone)
        return part

    @property
    def own(self) -> Branch:
        """The small one."""
        part = self.network.own
        assert isinstance(part, Branch)
        return part

    def _hold(self, common: Backbone, own: Branch) -> None:
        self.network = nn.ModuleDict({"common": common, "own": own})
        first, second = common.spec, own.backbone.spec
        options = {"common": first.options, "own": second.options}
        self.spec = BackboneSpec(f"pair/{first.name}+{second.name}", options)
        self.mean, self.std, self.size = common.mean, common.std, common.size
        self.stretch = common.stretch
        self.dropped = set()
