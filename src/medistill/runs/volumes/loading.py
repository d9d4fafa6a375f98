"""Recipe -> patches: those of a training, and those that a teacher is asked about."""

from collections.abc import Sequence

from medistill.data.volumes.dataset import VolumeDataset
from medistill.data.volumes.drawing import Drawing
from medistill.data.volumes.patches import Patches, PatchLoader
from medistill.recipe import Recipe
from medistill.runs.volumes.sizing import Sides


def patches_of(recipe: Recipe, patch: Sides) -> Patches:
    """What is cut out of a volume; as many as the recipe says are alike for all seeds."""
    data = recipe.data
    return Patches(
        shape=patch,
        foreground=data.foreground,
        augment=data.views > 1,
        views=data.patches,
        seed=None if data.patches is None else data.view_seed,
    )


def training_patches(
    recipe: Recipe,
    datasets: Sequence[VolumeDataset],
    patch: Sides,
    *,
    rank: int = 0,
    world: int = 1,
) -> PatchLoader:
    """The training patches of the recipe's roots, or one process's share of them."""
    data = recipe.data
    drawing = Drawing(
        steps=data.steps,
        batch_size=recipe.training.batch_size,
        seed=recipe.training.seed,
        mixing=data.mixing,
        sampling=data.task_sampling,
    )
    return PatchLoader(
        datasets,
        "train",
        drawing=drawing,
        patches=patches_of(recipe, patch),
        rank=rank,
        world=world,
    )
