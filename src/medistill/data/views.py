"""Augmentation as numbered views: view `v` of sample `i` is a pure function of (seed, i, v).

So a teacher's features of a view can be kept, and teacher and student see the same image. A view is
the same to the last bit alone or in any batch, with any number of threads: pixels meet only single
additions, multiplications and divisions, which vector units and scalar tails round alike. Powers
and sums over an image would not. A power or a fresh normal draw for each pixel would also cost more
than the bilinear sampling itself: benchmarks/input.py prints what each takes.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float, Int
from torch import Tensor

from medistill.data.augmentation import Augmentation
from medistill.data.counters import uniforms

_Images = Float[Tensor, "batch channels height width"]
_DRAWS = 15


def augment(
    images: _Images,
    samples: Int[Tensor, " batch"],
    views: Int[Tensor, " batch"],
    *,
    seed: int,
    settings: Augmentation,
) -> _Images:
    """The wanted view of each image; view 0 is the image as it is.

    Channels share geometry, tones and noise, so a grey image held in one channel or in three gives
    the same view.

    Args:
        images: In [0, 1].
        samples: Which sample each image is.
        views: Which of its views is wanted.
        seed: Of the views.
        settings: How far a view may stand from its image.
    """
    chosen = views.nonzero()[:, 0]
    if not len(chosen):
        return images
    draws = uniforms(_DRAWS, seed, samples[chosen].cpu().numpy(), views[chosen].cpu().numpy())
    changed = _changed(images[chosen], draws.T, settings)
    if len(chosen) == len(images):
        return changed
    result = images.clone()
    result[chosen] = changed
    return result


def _changed(images: _Images, draws: np.ndarray, settings: Augmentation) -> _Images:
    seen = F.grid_sample(
        images,
        _positions(images, draws[:9], settings),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    _tone(seen, draws[9:12], settings)
    if settings.noise:
        _add_noise(seen, draws[12:15], settings)
    return seen.clamp_(0, 1)


def _positions(
    images: _Images, draws: np.ndarray, settings: Augmentation
) -> Float[Tensor, "batch height width 2"]:
    """Where each pixel of a view looks in its image, in [-1, 1].

    The plane is complex: a rotation and a zoom are one factor, so that the whole map is the sum of
    a row and a column, and needs no matrix product over the pixels.
    """
    angle = np.radians(settings.rotation_degrees) * _signed(draws[0])
    cut = settings.crop * draws[2]
    zoom = (1 + settings.scale * _signed(draws[1])) * (1 - cut)
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    right = 2 * settings.shift * _signed(draws[3]) + cut * _signed(draws[5])
    down = 2 * settings.shift * _signed(draws[4]) + cut * _signed(draws[6])
    columns = _centres(images.shape[-1], draws[7] < 0.5, settings.flip in ("horizontal", "both"))
    rows = _centres(images.shape[-2], draws[8] < 0.5, settings.flip in ("vertical", "both"))
    row = _plane(cosine[:, None] * columns, sine[:, None] * columns)
    column = _plane(right[:, None] - sine[:, None] * rows, down[:, None] + cosine[:, None] * rows)
    device = images.device
    return torch.view_as_real(row.to(device)[:, None] + column.to(device)[:, :, None])


def _centres(length: int, mirrored: np.ndarray, allowed: bool) -> np.ndarray:
    centres = (2 * np.arange(length) + 1) / length - 1
    return np.where(mirrored & allowed, -1, 1)[:, None] * centres


def _plane(across: np.ndarray, down: np.ndarray) -> Complex[Tensor, "batch length"]:
    return torch.from_numpy(np.stack([across, down], axis=-1).astype(np.float32).view("c8")[..., 0])


def _tone(images: _Images, draws: np.ndarray, settings: Augmentation) -> None:
    """Contrast and brightness are one line, gamma a rational curve; in place.

    Gamma is Schlick's bias curve through the point where the power would send mid-grey: Fast
    Alternatives to Perlin's Bias and Gain Functions, Graphics Gems IV, 1994.
    """
    contrast = 1 + settings.contrast * _signed(draws[1])
    brightness = settings.brightness * _signed(draws[0]) + (1 - contrast) / 2
    images.mul_(_each(contrast, images)).add_(_each(brightness, images)).clamp_(0, 1)
    if settings.gamma:
        middle = 0.5 ** (1 + settings.gamma * _signed(draws[2]))
        bend = 1 / middle - 2
        images.div_(_each(1 + bend, images) - images * _each(bend, images))


def _add_noise(images: _Images, draws: np.ndarray, settings: Augmentation) -> None:
    """Adds a window of one fixed table of normal numbers, which the view's draws choose."""
    height, width = images.shape[-2:]
    table = _normal_table(height * width).to(images.device)
    starts = (draws[0] * (len(table) - height * width)).astype(np.int64)
    windows = torch.stack([table[start : start + height * width] for start in starts.tolist()])
    strength = settings.noise * draws[1] * np.where(draws[2] < 0.5, -1, 1)
    images.add_(windows.view(-1, 1, height, width).mul_(_each(strength, images)))


@lru_cache(maxsize=4)
def _normal_table(pixels: int) -> Float[Tensor, " length"]:
    # Many times an image, so that two views hardly ever share more than a stretch of it.
    length = max(2**20, 8 * pixels)
    return torch.from_numpy(np.random.default_rng(0).standard_normal(length, dtype=np.float32))


def _signed(draws: np.ndarray) -> np.ndarray:
    return 2 * draws - 1


def _each(values: np.ndarray, images: _Images) -> Float[Tensor, "batch 1 1 1"]:
    return torch.from_numpy(values.astype(np.float32)).to(images.device).view(-1, 1, 1, 1)
