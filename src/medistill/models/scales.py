"""The scales at which two networks are compared: their last stages, paired from the coarsest."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor
from torch.nn import functional as F

STAGES = 4  # as the distillation literature counts; a finer map is a network's stem

_POOLS: dict[int, Callable[..., Tensor]] = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_Each = TypeVar("_Each")
_Other = TypeVar("_Other")


def stages(scales: Sequence[_Each]) -> tuple[_Each, ...]:
    """Of one thing per scale, fine to coarse, those of the stages: the stem is left out."""
    return tuple(scales[-STAGES:])


def averaged(features: Tensor, space: Sequence[int]) -> Tensor:
    """Maps brought to a size by averaging; as they are where they have it."""
    if tuple(features.shape[2:]) == tuple(space):
        return features
    return _POOLS[features.ndim - 2](features, tuple(space))


def smaller(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """The size to which the larger of two maps is brought: along each axis the lesser one."""
    return tuple(min(pair) for pair in zip(a, b, strict=True))


def at_one_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of two networks, the larger averaged to the size of the smaller."""
    # Averaging invents nothing, as interpolation of the smaller one would.
    space = smaller(a.shape[2:], b.shape[2:])
    return averaged(a, space), averaged(b, space)


def paired(student: Sequence[_Each], teacher: Sequence[_Other]) -> list[tuple[_Each, _Other]]:
    """The stages of two networks one beside the other, fine to coarse.

    Paired from the coarsest: of a network with more stages than the other its finest are left out.
    """
    count = min(len(student), len(teacher), STAGES)
    # Not `[-count:]`, which would be all of them where one network has none.
    return list(zip(student[len(student) - count :], teacher[len(teacher) - count :], strict=True))
