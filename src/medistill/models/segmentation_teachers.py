"""Teachers that outline what a batch asks for."""

from collections.abc import Sequence

import torch

from medistill.models.caching import FeatureCache
from medistill.models.segmenters.base import Answering, Segmenter
from medistill.types import Batch, Output


class FrozenSegmenter:
    """A segmenter in evaluation mode, asked anew for every patch.

    Args:
        segmenter: Knows every class that it will be asked for, at whatever place.
        vocabulary: What the queries of a batch mean.
        patch: Sides of the patches of the data.

    Raises:
        UserError: It does not know a class, or does not take such patches.
    """

    classes = None  # it says masks of what it is asked, and no fixed number of logits

    def __init__(
        self, segmenter: Segmenter, vocabulary: Sequence[str], patch: tuple[int, int, int]
    ) -> None:
        self.segmenter = segmenter.eval().requires_grad_(False)
        self.places = Answering(segmenter, vocabulary).places
        self.width: int = segmenter.width
        self.map_shapes = segmenter.shapes(patch)
        self.map_shape = self.map_shapes[-1]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Output:
        assert batch.queries is not None, "a batch of patches has queries"
        if self.segmenter.training:
            self.segmenter.eval()
        asked = self.places.to(batch.queries.device)[batch.queries]
        output: Output = self.segmenter(batch.images, asked)
        assert output.logits is not None, "a segmenter says logits"
        maps = tuple(each.float() for each in output.maps)
        return Output(output.logits.float(), output.features.float(), maps)


class CachedSegmenter:
    """Masks and pooled features of a frozen segmenter, read from disk; maps would fill it.

    Args:
        cache: What it said.
    """

    classes = None
    map_shapes: tuple[tuple[int, ...], ...] = ()
    map_shape = None

    def __init__(self, cache: FeatureCache) -> None:
        self.cache = cache
        self.width: int = cache.shapes["features"][0]

    def __call__(self, batch: Batch) -> Output:
        return self.cache.gather(batch.samples, batch.views, batch.images.device)
