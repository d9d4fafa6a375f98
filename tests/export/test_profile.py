import json
from pathlib import Path

import numpy as np
import pytest

from medistill.data.formats import Picture, decode_array, image_files, read_image
from medistill.export.profile import ImageProfile, measure

REAL = Path(__file__).parents[3] / "shared" / "data"


def grey(height: int = 100, width: int = 120, brightness: float = 100.0, seed: int = 0) -> Picture:
    noise = np.random.default_rng(seed).normal(brightness, 30, (height, width))
    return decode_array(noise.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def profile() -> ImageProfile:
    return ImageProfile.of(grey(90 + seed, 120, 80 + seed, seed) for seed in range(40))


def test_measures_are_those_of_the_file_and_of_its_8_bits() -> None:
    picture = decode_array(np.array([[-1000.0, 3000.0]]))

    assert measure(picture) == {
        "height": 1,
        "width": 2,
        "width / height": 2,
        "lowest value": -1000,
        "highest value": 3000,
        "brightness": 127.5,
        "contrast": 127.5,
        "colour": 0,
    }


def test_picture_like_the_others_is_not_flagged(profile: ImageProfile) -> None:
    assert profile.unlike(grey(110, 125, 105, seed=99)) == []


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (grey(1000, 1200), "height 1000 (training: 90.19 to 128.8)"),
        (grey(100, 20), "width 20 (training: 120 to 120)"),
        (grey(100, 120, 240), "brightness"),
        (decode_array(np.full((100, 120), 100, np.uint8)), "contrast 0"),
        (
            decode_array(np.arange(12000, dtype=np.uint16).reshape(100, 120)),
            "highest value 1.2e+04",
        ),
        (decode_array(np.linspace(0, 1, 12000).reshape(100, 120)), "highest value 1 "),
    ],
)
def test_reason_names_the_quantity_its_value_and_what_training_saw(
    profile: ImageProfile, picture: Picture, reason: str
) -> None:
    assert any(found.startswith(reason) for found in profile.unlike(picture))


def test_colour_is_told_from_grey_that_a_camera_tinted(profile: ImageProfile) -> None:
    pixels = np.repeat(grey().pixels, 3, axis=2)
    tinted, coloured = pixels.copy(), pixels.copy()
    tinted[..., 0] = np.maximum(tinted[..., 0], 5) - 5
    coloured[..., 0] = 255 - coloured[..., 0]

    assert profile.unlike(decode_array(tinted)) == []
    assert any(reason.startswith("colour") for reason in profile.unlike(decode_array(coloured)))


def test_profile_goes_through_json_unchanged(profile: ImageProfile) -> None:
    document = json.loads(json.dumps(profile.as_document()))

    assert ImageProfile.from_document(document) == profile


def test_profile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        ImageProfile.of([])


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real data in ../shared/data")
def test_real_test_images_pass_and_other_organs_are_flagged() -> None:
    def pictures(folder: str, every: int) -> list[Picture]:
        root = REAL / folder
        return [read_image(root / name) for name in image_files(root)[::every]]

    def flagged(folder: str, every: int) -> float:
        return float(np.mean([bool(profile.unlike(p)) for p in pictures(folder, every)]))

    profile = ImageProfile.of(pictures("chest_xray_pneumonia/train", 10))

    assert flagged("chest_xray_pneumonia/test", 10) <= 0.02
    assert flagged("busi", 20) == flagged("blood_cells/test", 20) == flagged("mednist", 100) == 1
