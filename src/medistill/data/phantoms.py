"""Images that need no patient: procedural phantoms of several regions and modalities.

They serve the demonstration and the tests. A lesion is faint, irregular in place, size and angle,
and drowned in the noise of its modality, so that a network has to learn something, and can.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FINDINGS = ("normal", "smooth", "spiculated")
Field: TypeAlias = NDArray[np.float64]
"""An image in the making, (size, size), about 0 to 1."""


def make_phantoms(
    folder: Path, region: str, *, per_class: int, seed: int = 0, size: int = 96
) -> Path:
    """Write `folder/<finding>/<number>.png` for each of `FINDINGS`.

    Args:
        folder: Where to write; made if need be.
        region: One of `REGIONS`.
        per_class: Images of each finding.
        seed: The same seed makes the same images.
        size: Side of an image in pixels.
    """
    for finding in FINDINGS:
        (folder / finding).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            key = (seed, *region.encode(), *finding.encode(), number)
            pixels = phantom(region, finding, np.random.default_rng(key), size=size)
            Image.fromarray(pixels).save(folder / finding / f"{number:04d}.png")
    return folder


def phantom(
    region: str, finding: str, random: np.random.Generator, *, size: int = 96
) -> NDArray[np.uint8]:
    """One image, grey uint8 of `size` by `size` pixels."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    anatomy, modality = REGIONS[region]
    image = anatomy(x, y, random)
    if finding != "normal":
        image = image + _lesion(x, y, random, spiculated=finding == "spiculated")
    image = modality(image, random)
    return (255 * np.clip(image, 0, 1)).astype(np.uint8)


def _lesion(x: Field, y: Field, random: np.random.Generator, *, spiculated: bool) -> Field:
    """A blob, brighter or darker than its surroundings; spicules make its rim a star."""
    x0, y0 = random.uniform(-0.4, 0.4, 2)
    angle = np.arctan2(y - y0, x - x0)
    rim = 0.1 * np.cos(2 * angle + random.uniform(0, 6.3))
    if spiculated:
        rim = rim + 0.45 * np.cos(random.integers(6, 10) * angle + random.uniform(0, 6.3))
    radius = np.hypot(x - x0, y - y0) / (random.uniform(0.22, 0.36) * (1 + rim))
    contrast = random.choice([-1, 1]) * random.uniform(0.18, 0.34)
    lesion: Field = contrast / (1 + np.exp(14 * (radius - 1)))
    return lesion


def _ellipse(x: Field, y: Field, place: tuple[float, float], axes: tuple[float, float]) -> Field:
    """1 inside, 0 outside, with a soft edge."""
    radius = np.hypot((x - place[0]) / axes[0], (y - place[1]) / axes[1])
    inside: Field = 1 / (1 + np.exp(25 * (radius - 1)))
    return inside


def _texture(random: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth noise of mean 0 with about `cells` bumps a side."""
    coarse = Image.fromarray(random.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=float)


def _brain(x: Field, y: Field, random: np.random.Generator) -> Field:
    a, b = random.uniform(0.72, 0.85), random.uniform(0.8, 0.92)
    skull = _ellipse(x, y, (0.0, 0.0), (a, b)) - _ellipse(x, y, (0.0, 0.0), (a - 0.08, b - 0.08))
    gyri = 0.05 * _texture(random, len(x), 14)
    tissue = (0.45 + gyri) * _ellipse(x, y, (0.0, 0.0), (a - 0.1, b - 0.1))
    gap = random.uniform(0.1, 0.18)
    ventricles = sum(_ellipse(x, y, (s * gap, 0.05), (0.08, 0.24)) for s in (-1, 1))
    return 0.6 * skull + tissue - 0.25 * ventricles


def _chest(x: Field, y: Field, random: np.random.Generator) -> Field:
    width = random.uniform(0.3, 0.38)
    lungs = sum(_ellipse(x, y, (s * 0.45, 0.0), (width, 0.75)) for s in (-1, 1))
    ribs = 0.06 * np.cos((y + 0.4 * x**2) * random.uniform(18, 24) + random.uniform(0, 6.3))
    heart = _ellipse(x, y, (0.12, 0.25), (0.32, 0.36))
    return 0.7 - 0.4 * lungs + ribs * (lungs > 0.3) + 0.15 * heart


def _abdomen(x: Field, y: Field, random: np.random.Generator) -> Field:
    body = _ellipse(x, y, (0.0, 0.0), (0.92, 0.72))
    liver = _ellipse(x, y, (-0.38, random.uniform(-0.15, 0)), (0.42, 0.4))
    kidneys = sum(_ellipse(x, y, (s * 0.45, 0.32), (0.14, 0.2)) for s in (-1, 1))
    spine = _ellipse(x, y, (0.0, 0.5), (0.14, 0.14))
    return 0.4 * body + 0.12 * liver + 0.15 * kidneys + 0.4 * spine


def _breast(x: Field, y: Field, random: np.random.Generator) -> Field:
    layers = 0.08 * np.sin(9 * y + 2 * _texture(random, len(x), 4))
    skin = 0.3 * np.exp(-(((y + 0.95) / 0.08) ** 2))
    return 0.45 + layers + skin + 0.05 * _texture(random, len(x), 8)


def _magnetic_resonance(image: Field, random: np.random.Generator) -> Field:
    """Rician noise under a bias field."""
    bias = 1 + 0.15 * _texture(random, len(image), 3)
    real, imaginary = 0.07 * random.standard_normal((2, *image.shape))
    magnitude: Field = np.hypot(image * bias + real, imaginary)
    return magnitude


def _radiograph(image: Field, random: np.random.Generator) -> Field:
    return image + 0.05 * _texture(random, len(image), 6) + _grain(image, random, 0.06)


def _computed_tomography(image: Field, random: np.random.Generator) -> Field:
    return image + _grain(image, random, 0.1)


def _ultrasound(image: Field, random: np.random.Generator) -> Field:
    """Multiplicative speckle, weaker with depth."""
    speckle = random.rayleigh(0.8, image.shape)
    depth = np.linspace(1.1, 0.75, len(image))[:, None]
    return image * (0.55 + 0.45 * speckle) * depth


def _grain(image: Field, random: np.random.Generator, strength: float) -> Field:
    return strength * random.standard_normal(image.shape)


REGIONS: dict[str, tuple[Callable[..., Field], Callable[[Field, np.random.Generator], Field]]] = {
    "brain_mr": (_brain, _magnetic_resonance),
    "chest_xray": (_chest, _radiograph),
    "abdomen_ct": (_abdomen, _computed_tomography),
    "breast_us": (_breast, _ultrasound),
}
