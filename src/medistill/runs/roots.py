"""Whether a run is about images or about volumes: its roots decide."""

from medistill import catalog
from medistill.data.volumes.layouts.base import VolumeLayout, open_volumes_root
from medistill.errors import UserError
from medistill.recipe import Recipe, Root


def volume_roots(recipe: Recipe) -> dict[str, VolumeLayout]:
    """The layout of each root, where they hold volumes; empty where they hold images.

    Raises:
        UserError: Some hold the one, some the other.
    """
    roots = recipe.data.roots
    found = {name: _volumes(root) for name, root in roots.items()}
    volumes = {name: layout for name, layout in found.items() if layout is not None}
    if volumes and len(volumes) < len(found):
        images = next(name for name, layout in found.items() if layout is None)
        raise UserError(
            f"A recipe trains on volumes or on images, but data.roots.{next(iter(volumes))} holds "
            f"volumes and data.roots.{images} does not. Leave one of them out."
        )
    return volumes


def _volumes(root: Root) -> VolumeLayout | None:
    # A manifest may list either: its name says nothing, its rows do.
    shared = root.layout in catalog.available("medistill.data.layouts")
    return open_volumes_root(root.root, "auto" if shared else root.layout, root.task)
