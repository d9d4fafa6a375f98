"""Files of every kind become the picture that a person would see."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medistill.data.formats import (
    Unreadable,
    decode_array,
    image_files,
    is_image,
    is_volume,
    read_image,
)
from medistill.errors import UserError

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_an_8_bit_grey_file_gives_its_pixels(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(RAMP).save(tmp_path / f"a.{suffix}")
    picture = read_image(tmp_path / f"a.{suffix}")
    assert (picture.pixels == RAMP[..., None]).all()
    assert (picture.original_dtype, picture.low, picture.high) == ("uint8", 0, 235)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_a_colour_file_gives_its_pixels(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(COLOUR).save(tmp_path / f"a.{suffix}")
    assert (read_image(tmp_path / f"a.{suffix}").pixels == COLOUR).all()


def test_colour_with_equal_channels_is_grey(tmp_path: Path) -> None:
    Image.fromarray(RAMP).convert("RGB").save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png").pixels == RAMP[..., None]).all()


def test_a_jpeg_is_nearly_what_was_saved(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.JPG", format="JPEG", quality=98)
    error = np.abs(read_image(tmp_path / "a.JPG").pixels[..., 0].astype(int) - RAMP)
    assert error.max() <= 6  # what quality 98 loses


def test_a_cmyk_jpeg_becomes_colour(tmp_path: Path) -> None:
    red = Image.new("RGB", (8, 8), (250, 10, 10)).convert("CMYK")
    red.save(tmp_path / "a.jpg", quality=98)
    pixel = read_image(tmp_path / "a.jpg").pixels[4, 4]
    assert np.abs(pixel.astype(int) - (250, 10, 10)).max() <= 8  # JPEG's loss


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_stretched_from_lowest_to_highest(tmp_path: Path, suffix: str) -> None:
    values = RAMP.astype(np.uint16) * 4 + 1000
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    picture = read_image(tmp_path / f"a.{suffix}")
    assert (picture.low, picture.high) == (1000, 1940)
    assert picture.pixels.min() == 0 and picture.pixels.max() == 255
    assert picture.original_dtype == "uint16"


def test_float_is_stretched_and_nan_counts_as_lowest(tmp_path: Path) -> None:
    values = np.linspace(-1, 3, 48, dtype=np.float32).reshape(6, 8)
    values[0, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tiff")
    picture = read_image(tmp_path / "a.tiff")
    assert (picture.low, picture.high) == (-1, 3)
    assert picture.pixels[0, 3] == 0 and picture.pixels[-1, -1] == 255


def test_bits_become_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(RAMP > 100).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png").pixels[..., 0] == (RAMP > 100) * 255).all()


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray((RAMP > 100).astype(np.uint8), mode=None).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png").pixels
    assert tuple(pixels[0, 0]) == (10, 20, 30) and tuple(pixels[-1, -1]) == (200, 100, 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_black(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(RAMP).convert(mode)
    image.putalpha(Image.fromarray(np.where(RAMP > 100, 255, 0).astype(np.uint8)))
    image.save(tmp_path / "a.png")
    expected = np.where(RAMP > 100, RAMP, 0)
    assert (read_image(tmp_path / "a.png").pixels[..., 0] == expected).all()


def test_a_photograph_is_turned_as_its_camera_was_held(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP)
    exif = image.getexif()
    exif[0x0112] = 6  # the top of the scene is at the right side of the file
    image.save(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.png").pixels[..., 0] == np.rot90(RAMP, -1)).all()


def test_a_tiff_of_several_pages_is_refused(tmp_path: Path) -> None:
    page = Image.fromarray(RAMP)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page, page])
    with pytest.raises(Unreadable, match=r"a\.tif: holds 3 pages"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "dcm"])
def test_a_file_cut_short_is_named(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / "whole.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    Image.fromarray(noise).save(whole, format="PNG" if suffix == "dcm" else None)
    if suffix not in ("png", "dcm"):
        whole = tmp_path / f"whole.{suffix}"
        Image.fromarray(noise).save(whole)
    (tmp_path / f"cut.{suffix}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(
        Unreadable, match=rf"cut\.{suffix}: (cannot be decoded|is not a DICOM file)"
    ):
        read_image(tmp_path / f"cut.{suffix}")


@pytest.mark.filterwarnings("ignore")  # Pillow's words on what is broken
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_whatever_is_broken_inside_a_file_it_is_read_or_named(tmp_path: Path, suffix: str) -> None:
    path, random = tmp_path / f"a.{suffix}", np.random.default_rng(0)
    Image.fromarray(COLOUR).save(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        broken = whole.copy()
        broken[random.integers(0, len(whole), 4)] = random.integers(0, 255, 4)
        path.write_bytes(broken.tobytes())
        with suppress(Unreadable):
            assert read_image(path).pixels.ndim == 3


@pytest.mark.parametrize("name", ["a.png", "a.dcm"])
def test_an_empty_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(Unreadable, match=r"is empty \(0 bytes\)"):
        read_image(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"nowhere\.png: No such file"):
        read_image(tmp_path / "nowhere.png")


def test_text_with_the_name_of_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>404 not found</html>")
    with pytest.raises(Unreadable, match="is not an image"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("times", [1.5, 3])
def test_a_decompression_bomb_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: float
) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(48 / times))
    with pytest.raises(Unreadable, match="holds more than") as caught:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_where_pillow_s_warning_is_silenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", 32
    )  # of 48: Pillow itself only warns below twice
    with pytest.raises(Unreadable, match="holds more than"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "a.mha"])
def test_volumes_are_refused_with_a_word(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    assert is_volume(tmp_path / name)
    with pytest.raises(Unreadable, match="volumes"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("shape", [(3,), (4, 4, 2), (4, 4, 4), (2, 4, 4, 3), (0, 4)])
def test_an_array_that_is_not_one_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not one image"):
        decode_array(np.zeros(shape))


def test_a_constant_image_of_any_type_becomes_black_unless_it_has_8_bits() -> None:
    assert not decode_array(np.full((4, 4), 900, np.int16)).pixels.any()
    assert (decode_array(np.full((4, 4), 90, np.uint8)).pixels == 90).all()


def test_what_operating_systems_leave_behind_is_ignored(tmp_path: Path) -> None:
    for name in [
        "b/x.png",
        "a.JPEG",
        "._a.jpeg",
        ".hidden/x.png",
        "__MACOSX/x.png",
        "b/Thumbs.db",
        "notes.txt",
        ".DS_Store",
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert image_files(tmp_path) == ["a.JPEG", "b/x.png"]
    assert image_files(tmp_path / "b", tmp_path) == ["b/x.png"]


def test_folders_behind_links_are_read_once_even_in_a_loop(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.png").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    assert image_files(root) == ["linked/x.png"]


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113619.2"])
def test_a_nameless_file_with_the_mark_of_dicom_is_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    (tmp_path / "README").write_bytes(bytes(200))
    assert is_image(tmp_path / name)
    assert not is_image(tmp_path / "README")


def test_reading_needs_no_torch() -> None:
    code = "import sys, medistill.data.formats, medistill.data.findings; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pydicom", "matplotlib"} & set(ran.stdout.split())


def test_without_pydicom_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(UserError, match=r'pip install "medistill\[dicom\]"') as caught:
        read_image(tmp_path / "a.dcm")
    assert not isinstance(caught.value, Unreadable)
