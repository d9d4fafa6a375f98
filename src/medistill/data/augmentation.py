"""What a recipe may set about augmentation; `views.py` does it."""

from dataclasses import dataclass
from typing import Literal, get_args

from medistill.errors import UserError

Flip = Literal["none", "horizontal", "vertical", "both"]

_BELOW_ONE = ("scale", "contrast", "crop")  # at 1 an image would vanish
_UP_TO_ONE = ("shift", "brightness", "gamma", "noise")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a view may stand from its image; 0 leaves a property as it is.

    The defaults are mild, and nothing is mirrored: left and right carry a meaning in a body.

    Args:
        rotation_degrees: Turned by up to so much, either way.
        scale: Shown larger or smaller by up to this share.
        shift: Moved along each axis by up to this share of the side.
        crop: Up to this share of each side is cut off, anywhere, and the rest is enlarged.
        flip: Axes along which an image may be mirrored, each half of the time.
        brightness: Raised or lowered by up to this share of the range of grey values.
        contrast: Spread or narrowed about mid-grey by up to this share.
        gamma: Mid-tones are bent as by an exponent of 1 - gamma to 1 + gamma.
        noise: Largest standard deviation of the noise, as a share of the range of grey values.
    """

    rotation_degrees: float = 10.0
    scale: float = 0.1
    shift: float = 0.05
    crop: float = 0.0
    flip: Flip = "none"
    brightness: float = 0.1
    contrast: float = 0.1
    gamma: float = 0.1
    noise: float = 0.01

    def __post_init__(self) -> None:
        if self.flip not in get_args(Flip):
            raise UserError(f"flip is {self.flip!r}; choose one of {', '.join(get_args(Flip))}.")
        if not 0 <= self.rotation_degrees <= 180:
            raise UserError(f"rotation_degrees is {self.rotation_degrees}; keep it in 0 to 180.")
        for name in _UP_TO_ONE:
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is a share, from 0 to 1.")
        for name in _BELOW_ONE:
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is a share below 1.")
