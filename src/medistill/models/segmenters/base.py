"""What every family of segmenters has in common: a volume and queries in, a map per query out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from medistill import catalog
from medistill.errors import UserError
from medistill.models.backbones.base import BackboneSpec, first_line
from medistill.types import Output

SEGMENTERS = "medistill.models.segmenters"

Sides = tuple[int, int, int]
"""Of a patch, in voxels along each axis of space."""


class Segmenter(nn.Module, ABC):
    """A network that is shown a patch and asked where some classes are.

    Args:
        architecture: Its name within the family.
        options: What else makes it; plain values, as they stand in a recipe.
        vocabulary: Every class that it may be asked for: a query is a place in it.

    Attributes:
        spec: From which, with the vocabulary, `build_segmenter` makes it again.
        vocabulary: As above.
        width: Length of the features, which are the global average of the last map.
        stride: Sides of a patch must be multiples of it.
        multiples: Names of the convolutions that a decomposition gives low-rank experts, and of
            which multiple of the rank; None for all of them, once.
    """

    spec: BackboneSpec
    vocabulary: tuple[str, ...]
    width: int
    stride: Sides
    multiples: Mapping[str, int] | None = None

    @abstractmethod
    def __init__(
        self, architecture: str, options: Mapping[str, Any], vocabulary: Sequence[str]
    ) -> None:
        super().__init__()

    @staticmethod
    @abstractmethod
    def names() -> list[str]:
        """The architectures of the family."""

    @abstractmethod
    def forward(
        self, images: Float[Tensor, "batch 1 *space"], queries: Int[Tensor, "batch queries"]
    ) -> Output:
        """Logits `(batch, queries, *space)`, pooled features, and the encoder's maps.

        Args:
            images: Prepared patches: of one channel, z-scored.
            queries: Of each sample, by their places in the vocabulary.
        """

    @property
    def portable(self) -> dict[str, Any]:
        """Options that, with its state, make it again anywhere: they name no file."""
        return dict(self.spec.options)

    @property
    def by_class(self) -> tuple[str, ...]:
        """Tensors of its state whose first axis is the vocabulary."""
        return ()

    def shapes(self, patch: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Channels and space of each map of such a patch, fine to coarse.

        Raises:
            UserError: It does not take such patches; the line says which would do.
        """
        if len(patch) != 3 or min(patch) < 1:
            raise UserError(f"patch = {list(patch)}: give three sides in voxels, each above 0.")
        fitting = self._fitting(patch)
        if fitting != list(patch):
            raise UserError(
                f"patch = {list(patch)}: {self.spec.name} takes sides that are multiples of "
                f"{list(self.stride)}; the next are {fitting}."
            )
        return tuple(tuple(each.shape[1:]) for each in self._imagined(patch).maps)

    def _fitting(self, patch: Sequence[int]) -> list[int]:
        # Rounded up: a smaller patch would show less than was asked for.
        return [-(-side // step) * step for side, step in zip(patch, self.stride, strict=True)]

    def _imagined(self, patch: Sequence[int]) -> Output:
        """What it gives for such a patch, without memory or arithmetic."""
        state = [*self.named_parameters(), *self.named_buffers()]
        tensors = {name: torch.empty_like(tensor, device="meta") for name, tensor in state}
        shown = (
            torch.empty(1, 1, *patch, device="meta"),
            torch.zeros(1, 1, dtype=torch.int64, device="meta"),
        )
        try:
            with torch.no_grad():
                output: Output = torch.func.functional_call(self, tensors, shown)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"patch = {list(patch)}: {self.spec.name} does not take it ({first_line(error)}); "
                "try one of twice the sides."
            ) from error
        return output


class Answering(nn.Module):
    """What is deployed: a segmenter that is always asked for the same classes.

    Args:
        segmenter: May be shared with the networks of other tasks.
        classes: In the order of the logits.

    Raises:
        UserError: A class that the segmenter does not know.
    """

    places: Tensor

    def __init__(self, segmenter: Segmenter, classes: Sequence[str]) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.classes = tuple(classes)
        known = {name: place for place, name in enumerate(segmenter.vocabulary)}
        if strange := [name for name in self.classes if name not in known]:
            raise UserError(
                f"Class {strange[0]!r} is none of those that {segmenter.spec.name} knows: "
                f"{', '.join(known)}."
            )
        asked = torch.tensor([known[name] for name in self.classes], dtype=torch.int64)
        asked = asked.to(next(segmenter.parameters()).device)
        self.register_buffer("places", asked, persistent=False)

    @property
    def width(self) -> int:
        """Length of the features."""
        return self.segmenter.width

    def forward(self, images: Float[Tensor, "batch 1 *space"]) -> Output:
        """Logits of the classes, pooled features, and the encoder's maps."""
        # No copy: all images of a batch are asked for the same.
        queries = self.places.expand(images.shape[0], -1)
        output: Output = self.segmenter(images, queries)
        return output


def build_segmenter(
    name: str, options: Mapping[str, Any] | None, vocabulary: Sequence[str]
) -> Segmenter:
    """A segmenter with random weights, by the name that recipes use.

    Args:
        name: `sat/<architecture>` or `monai/<architecture>`.
        options: What else makes it.
        vocabulary: Every class that it may be asked for.

    Raises:
        UserError: Family, architecture or option is unknown.
    """
    family, slash, architecture = name.partition("/")
    if not slash:
        raise UserError(f"{name!r} is no segmenter: write sat/<name> or monai/<name>.")
    _refuse_repeated(vocabulary)
    try:
        found = catalog.find(
            SEGMENTERS,
            family,
            Segmenter,  # type: ignore[type-abstract]
        )
    except LookupError as error:
        raise UserError(str(error)) from None
    return found(architecture, dict(options or {}), tuple(vocabulary))


def _refuse_repeated(vocabulary: Sequence[str]) -> None:
    if repeated := sorted({each for each in vocabulary if list(vocabulary).count(each) > 1}):
        raise UserError(f"Class {repeated[0]!r} is in the vocabulary twice; give each name once.")
