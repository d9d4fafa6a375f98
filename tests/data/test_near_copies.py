"""Copies that were changed a little are told from images that are merely alike."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from medistill.data.entries import Entry, describe, difference_hash, pixel_digest
from medistill.data.formats import decode_array, read_image
from medistill.data.near_copies import contact_sheet, near_copies


def smooth(seed: int, size: tuple[int, int] = (90, 80)) -> Image.Image:
    """An image with structure at all scales, as anatomy has it."""
    noise = np.random.default_rng(seed).integers(0, 255, (12, 12), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def seen(*images: Image.Image) -> list[Entry]:
    """Entries of images as if they had been read from files."""
    return [describe(decode_array(np.asarray(image)), str(i), "") for i, image in enumerate(images)]


def changed(image: Image.Image, tmp_path: Path) -> dict[str, Image.Image]:
    """The same image after what happens to copies."""
    image.save(tmp_path / "copy.jpg", quality=80)
    return {
        "compressed": Image.fromarray(read_image(tmp_path / "copy.jpg").pixels[..., 0]),
        "resized": image.resize((120, 100), Image.Resampling.BILINEAR),
        "brighter": image.point(lambda value: value * 0.8 + 20),
        "blurred": image.filter(ImageFilter.GaussianBlur(1)),
    }


@pytest.mark.parametrize("change", ["compressed", "resized", "brighter", "blurred"])
def test_a_changed_copy_in_another_split_is_found(tmp_path: Path, change: str) -> None:
    original = smooth(0)
    entries = seen(original, smooth(1), smooth(2), changed(original, tmp_path)[change])
    assert near_copies(entries, {"train": [0, 1], "test": [2, 3]}) == [(0, 3)]


def test_a_copy_in_the_same_split_is_no_matter(tmp_path: Path) -> None:
    entries = seen(smooth(0), changed(smooth(0), tmp_path)["resized"], smooth(1))
    assert near_copies(entries, {"train": [0, 1], "test": [2]}) == []


def test_identical_blank_and_unreadable_images_are_left_to_others() -> None:
    flat = Image.new("L", (9, 9), 7)
    entries = seen(smooth(0), smooth(0), flat, Image.new("L", (8, 8), 9))
    assert near_copies(entries, {"train": [0, 2], "test": [1, 3]}) == []


def test_dark_images_are_not_alike_because_they_are_dark() -> None:
    images = []
    for place in ((5, 5), (60, 60)):
        dark = Image.new("L", (90, 80))
        dark.paste(smooth(place[0], (20, 15)), place)
        images.append(dark)
    assert near_copies(seen(*images), {"train": [0], "test": [1]}) == []


def test_different_images_are_not_alike() -> None:
    entries = seen(*(smooth(seed) for seed in range(40)))
    halves = {"train": [*range(20)], "test": [*range(20, 40)]}
    assert near_copies(entries, halves) == []


def test_the_most_alike_come_first(tmp_path: Path) -> None:
    copies = changed(smooth(0), tmp_path)
    entries = seen(smooth(0), copies["brighter"], copies["blurred"].rotate(0.4))
    assert near_copies(entries, {"train": [0], "test": [2, 1]})[0] == (0, 1)


def test_the_digest_tells_shape_and_pixels() -> None:
    flat = np.zeros((4, 6, 1), np.uint8)
    assert pixel_digest(flat) != pixel_digest(flat.reshape(6, 4, 1))
    assert pixel_digest(flat) != pixel_digest(flat + 1)
    assert len(pixel_digest(flat)) == 16


def test_the_hash_of_a_flat_image_is_zero_and_of_a_ramp_all_ones() -> None:
    ramp = np.tile(np.arange(170, dtype=np.uint8), (160, 1))[..., None]
    assert difference_hash(np.full_like(ramp, 90)) == 0
    assert difference_hash(ramp) == 2**256 - 1


def test_a_colour_image_and_its_grey_version_are_alike() -> None:
    colour = Image.merge("RGB", [smooth(0), smooth(0).point(lambda v: v // 2), smooth(0)])
    assert near_copies(seen(colour, smooth(0)), {"train": [0], "test": [1]}) == [(0, 1)]


@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_contact_sheet_holds_every_pair(tmp_path: Path, count: int) -> None:
    bright = decode_array(np.full((300, 200), 30, np.uint8))
    tiny = decode_array(np.full((9, 9, 3), (30, 60, 90), np.uint8))
    contact_sheet([(bright, tiny)] * count, tmp_path / "sheet.png", columns=3, side=64)
    sheet = read_image(tmp_path / "sheet.png").pixels
    # Shrunk to 64 x 43 the grey one covers 2752 pixels, and the tiny one stays as it is.
    assert (sheet == 30).all(axis=2).sum() == count * 64 * 43
    assert sheet.shape[2] == 1 or (sheet == (30, 60, 90)).all(axis=2).sum() == count * 81
