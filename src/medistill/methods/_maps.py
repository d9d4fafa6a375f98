"""What methods that compare feature maps share: which maps they ask for, and which they pair."""

from medistill.errors import UserError
from medistill.methods.base import Method
from medistill.models.teachers import Teacher

Shape = tuple[int, ...]


def required_maps(method: Method, teacher: Teacher) -> tuple[Shape, ...]:
    """`(channels, *space)` of the maps of a teacher that must have at least one.

    Args:
        method: Who asks.
        teacher: Without maps it is refused.
    """
    if not teacher.map_shapes:
        name = type(method).__module__.rpartition(".")[2]
        raise UserError(
            f"{name} needs the teacher's maps, but it gives vectors alone. Set teacher.grid "
            "above 1, or name a teacher's network instead of a file of vectors."
        )
    return teacher.map_shapes
