"""The teacher of a run on volumes: asked for every patch, or once for each and then read."""

from collections.abc import Sequence
from hashlib import sha256

import torch

from medistill.data.volumes.opening import OpenedVolumes
from medistill.models.caching import FeatureCache, build_cache, plan_cache
from medistill.models.segmentation_teachers import CachedSegmenter, FrozenSegmenter
from medistill.models.teachers import Teacher
from medistill.recipe import Recipe
from medistill.runs.console import Console
from medistill.runs.volumes.building import Known
from medistill.runs.volumes.loading import patches_of, training_patches
from medistill.runs.volumes.roots import key_of
from medistill.runs.volumes.sizing import Sides
from medistill.training.devices import place, placed
from medistill.types import Batch, Output


def teach(
    recipe: Recipe,
    known: Known,
    words: Sequence[str],
    opened: Sequence[OpenedVolumes],
    patch: Sides,
    *,
    device: torch.device,
    console: Console,
) -> Teacher:
    """The frozen teacher; where patches come again, what it says of each is kept on disk.

    Args:
        recipe: Says how many patches each volume has, if there is an end of them.
        known: The teacher's network; moved to the device.
        words: Classes of all roots: what queries mean.
        opened: The roots.
        patch: Sides of the patches.
        device: Where the teacher computes.
        console: Shows the progress of the one pass through it.
    """
    place(known.segmenter, device)
    frozen = FrozenSegmenter(known.segmenter, words, patch)
    if recipe.data.patches is None or recipe.teacher is None or not recipe.teacher.cache:
        return frozen
    return CachedSegmenter(_cache(recipe, known, frozen, opened, patch, device, console))


def _cache(
    recipe: Recipe,
    known: Known,
    frozen: FrozenSegmenter,
    opened: Sequence[OpenedVolumes],
    patch: Sides,
    device: torch.device,
    console: Console,
) -> FeatureCache:
    assert recipe.data.patches is not None
    loader = training_patches(recipe, [one.dataset for one in opened], patch)
    rows = len(loader.samples) * recipe.data.patches
    # All that decides what the teacher says of a (sample, patch).
    facts = (
        known.sha256, frozen.places.tolist(), patches_of(recipe, patch),
        [(key_of(one), one.dataset.splits["train"].tolist()) for one in opened],
    )  # fmt: skip
    key = sha256(repr(facts).encode()).hexdigest()
    folder = recipe.data.store.expanduser() / "teachers" / key[:32]

    def masks(batch: Batch) -> Output:
        return frozen(placed(batch, device))._replace(maps=())

    size = recipe.training.batch_size
    if not folder.is_dir():
        example = next(iter(loader.every_patch(size)))
        plan = plan_cache(masks, example, rows=rows, folder=folder, per="data.patches")
        console.say(str(plan))
        plan.refuse_over_free_disk()
    with console.track("teacher", rows) as advance:
        return build_cache(
            masks,
            loader.every_patch(size),
            samples=loader.rows,
            views=recipe.data.patches,
            folder=folder,
            key=key,
            rows=rows,
            on_progress=lambda done, _: advance(done, ""),
        )
