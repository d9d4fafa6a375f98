"""Images that need no patient."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medistill.data.phantoms import FINDINGS, REGIONS, make_phantoms, phantom


@pytest.mark.parametrize("region", list(REGIONS))
@pytest.mark.parametrize("finding", FINDINGS)
def test_a_phantom_is_a_grey_image_with_contrast_and_noise(region: str, finding: str) -> None:
    image = phantom(region, finding, np.random.default_rng(0), size=48)
    assert image.shape == (48, 48)
    assert image.dtype == np.uint8
    assert image.std() > 10
    assert len(np.unique(image)) > 50


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    first = make_phantoms(tmp_path / "a", "brain_mr", per_class=2, seed=3, size=32)
    second = make_phantoms(tmp_path / "b", "brain_mr", per_class=2, seed=3, size=32)
    names = sorted(path.relative_to(first) for path in first.rglob("*.png"))
    assert len(names) == 2 * len(FINDINGS)
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_no_two_images_are_alike_whatever_seed_region_finding_or_number(tmp_path: Path) -> None:
    for seed in (0, 1):
        for region in REGIONS:
            make_phantoms(tmp_path / f"{seed}{region}", region, per_class=2, seed=seed, size=32)
    images = [path.read_bytes() for path in tmp_path.rglob("*.png")]
    assert len(set(images)) == len(images) == 2 * len(REGIONS) * 2 * len(FINDINGS)


def test_a_finding_is_no_matter_of_brightness() -> None:
    # Lesions are brighter or darker: the mean alone must not tell them from normal tissue.
    means = {
        finding: [
            float(phantom("chest_xray", finding, np.random.default_rng(n), size=48).mean())
            for n in range(40)
        ]
        for finding in FINDINGS
    }
    spread = np.std(means["normal"])
    for finding in FINDINGS[1:]:
        assert abs(np.mean(means[finding]) - np.mean(means["normal"])) < spread


def test_the_files_are_what_the_layouts_read(tmp_path: Path) -> None:
    make_phantoms(tmp_path, "breast_us", per_class=1, size=40)
    with Image.open(tmp_path / "smooth" / "0000.png") as image:
        assert (image.mode, image.size) == ("L", (40, 40))
