"""The teacher of a run on volumes: asked for every patch, or once for each and then read."""

from collections.abc import Iterator, Sequence

import torch

from medistill.assemble import method_class
from medistill.data.volumes.opening import OpenedVolumes
from medistill.data.volumes.patches import Patches
from medistill.methods.reprogramming_distillation import ReprogrammingDistillation
from medistill.models.segmentation_teachers import CachedSegmenter, FrozenSegmenter
from medistill.models.teachers import Teacher
from medistill.recipe import Recipe
from medistill.runs.answers import Questions, kept_answers
from medistill.runs.console import Console
from medistill.runs.volumes.building import Known
from medistill.runs.volumes.loading import patches_of, training_patches
from medistill.runs.volumes.roots import key_of
from medistill.runs.volumes.sizing import Sides
from medistill.training.devices import place, placed
from medistill.types import Batch


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
    count = recipe.data.patches
    if count is None or recipe.teacher is None or not recipe.teacher.cache:
        return frozen
    if issubclass(method_class(recipe), ReprogrammingDistillation):
        console.say(
            "data.patches: the teacher's answers are kept without its maps, so pooled features "
            "alone are aligned; teacher.cache: false aligns all scales."
        )
    loader = training_patches(recipe, [one.dataset for one in opened], patch)

    def batches() -> Iterator[Batch]:
        asked = loader.every_patch(recipe.training.batch_size)
        return (placed(batch, device) for batch in asked)

    rows = len(loader.samples) * count
    cache = kept_answers(
        lambda batch: frozen(batch)._replace(maps=()),
        Questions(batches, rows, samples=loader.rows, views=count, per="data.patches"),
        facts=_facts(known, frozen, patches_of(recipe, patch), opened),
        store=recipe.data.store,
        console=console,
    )
    return CachedSegmenter(cache)


def _facts(
    known: Known, frozen: FrozenSegmenter, patches: Patches, opened: Sequence[OpenedVolumes]
) -> tuple[object, ...]:
    """All that decides what the teacher says of a (sample, patch)."""
    return (
        known.sha256, known.segmenter.spec, known.segmenter.portable, frozen.places.tolist(),
        patches, patches.augmentation,
        [(key_of(one), one.dataset.task.classes, one.dataset.known,
          one.dataset.splits["train"].tolist()) for one in opened],
    )  # fmt: skip
