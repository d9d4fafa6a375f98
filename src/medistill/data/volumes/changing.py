"""How a patch may differ from its volume: nothing that a body or a scanner would not do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medistill.data.counters import uniforms

_CHANGES, _NOISE = 31, 32  # first keys of their own: see `order.py`


@dataclass(frozen=True, kw_only=True)
class PatchAugmentation:
    """How far a patch may stand from its volume; nothing is mirrored, and nothing is turned.

    Left and right, above and below carry a meaning in a body.

    Args:
        chance: Of each change, by itself.
        zoom: Shown larger or smaller by up to this share.
        scale: Values are multiplied by 1 - scale to 1 + scale.
        gamma: Mid-tones are bent as by an exponent of 1 - gamma to 1 + gamma.
        noise: Largest standard deviation of the noise, in those of the volume.
        sharpen: What a blur takes away is added up to so many times.
    """

    chance: float = 0.3
    zoom: float = 0.15
    scale: float = 0.25
    gamma: float = 0.3
    noise: float = 0.15
    sharpen: float = 2.0

    def zoom_of(self, *keys: int) -> float:
        """How much larger this patch is shown."""
        happens, how = uniforms(2, _CHANGES, *keys)[0].tolist()
        return 1 + (2 * how - 1) * self.zoom if happens < self.chance else 1.0

    def change(self, image: NDArray[np.float32], *keys: int) -> NDArray[np.float32]:
        """The patch with other grey values; the keys alone decide which."""
        # The first two decide the zoom: see above; so each change has numbers of its own.
        drawn = uniforms(10, _CHANGES, *keys)[0]
        happens, how = drawn[2::2] < self.chance, drawn[3::2]
        # Before there is noise, which it would only raise.
        if happens[3]:
            image = image + np.float32(how[3] * self.sharpen) * (image - _blurred(image))
        if happens[0]:
            image = image * np.float32(1 + (2 * how[0] - 1) * self.scale)
        if happens[1]:
            image = _bent(image, 1 + (2 * float(how[1]) - 1) * self.gamma)
        if happens[2]:
            image = image + np.float32(how[2] * self.noise) * _normals(image.shape, *keys)
        return image


def _bent(image: NDArray[np.float32], exponent: float) -> NDArray[np.float32]:
    # Z-scored values are below 0 too, where a power is not defined: it is taken of their place
    # between the extremes.
    low, high = image.min(), image.max()
    if low == high:
        return image
    shares: NDArray[np.float32] = (image - low) / (high - low)
    bent: NDArray[np.float32] = shares ** np.float32(exponent) * (high - low) + low
    return bent


def _blurred(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Along each axis the mean with both neighbours, itself counted twice; borders are repeated.

    Near to a Gaussian of 0.7 voxels.
    """
    blurred = image
    for axis, side in enumerate(image.shape):
        ends = [(int(a == axis),) * 2 for a in range(image.ndim)]
        wide = np.pad(blurred, ends, mode="edge")
        before, after = (wide.take(range(at, at + side), axis) for at in (0, 2))
        blurred = blurred / np.float32(2) + (before + after) / np.float32(4)
    return blurred


def _normals(shape: tuple[int, ...], *keys: int) -> NDArray[np.float32]:
    # numpy draws them five times as fast as two uniforms of ours would be turned into one.
    (seed,) = (uniforms(1, _NOISE, *keys)[0] * 2**53).astype(np.int64).tolist()
    generator = np.random.Generator(np.random.SFC64(seed))
    return generator.standard_normal(shape, dtype=np.float32)
