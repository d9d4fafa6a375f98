"""DICOM files are shown as their scanner meant them."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.data.formats import Unreadable, read_image

pydicom = pytest.importorskip("pydicom")
VALUES = np.arange(20, dtype=np.int16).reshape(4, 5) * 10
REAL = Path(__file__).parents[3] / "shared" / "data" / "dicom_series"


def save(path: Path, values: np.ndarray = VALUES, **tags: Any) -> Path:
    """Write a small DICOM file with these stored values and tags."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    bits = values.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.SamplesPerPixel = 3 if values.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    if values.ndim == 3:
        dataset.PlanarConfiguration = 0
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = values.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_without_a_window_lowest_to_highest_is_shown(tmp_path: Path) -> None:
    picture = read_image(save(tmp_path / "a.dcm"))
    expected = np.rint(VALUES / 190 * 255)
    assert (picture.pixels[..., 0] == expected).all()
    assert (picture.original_dtype, picture.low, picture.high) == ("int16", 0, 190)


def test_values_are_rescaled_to_their_units(tmp_path: Path) -> None:
    picture = read_image(save(tmp_path / "a.dcm", RescaleSlope=2, RescaleIntercept=-1024))
    assert (picture.low, picture.high) == (-1024, -644)


def test_a_window_clips_rescaled_values(tmp_path: Path) -> None:
    tags = {"WindowCenter": 50.5, "WindowWidth": 101, "RescaleSlope": 1, "RescaleIntercept": -50}
    shown = read_image(save(tmp_path / "a.dcm", **tags)).pixels[..., 0]
    # Centre 50.5 and width 101 run from 0 to 100 by the formula of the standard.
    assert (shown == np.rint(np.clip(VALUES - 50, 0, 100) * 2.55)).all()


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    one = save(tmp_path / "one.dcm", WindowCenter=80, WindowWidth=60)
    several = save(tmp_path / "several.dcm", WindowCenter=[80, 10], WindowWidth=[60, 20])
    assert (read_image(one).pixels == read_image(several).pixels).all()


def test_an_exact_window_has_no_half_step(tmp_path: Path) -> None:
    tags = {"WindowCenter": 95, "WindowWidth": 190, "VOILUTFunction": "LINEAR_EXACT"}
    shown = read_image(save(tmp_path / "a.dcm", **tags)).pixels[..., 0]
    assert (shown == np.rint(VALUES / 190 * 255)).all()


def test_a_sigmoid_window_is_half_at_its_centre(tmp_path: Path) -> None:
    tags = {"WindowCenter": 100, "WindowWidth": 40, "VOILUTFunction": "SIGMOID"}
    shown = read_image(save(tmp_path / "a.dcm", **tags)).pixels[..., 0]
    assert shown[2, 0] == 128 and shown[0, 0] == 0 and shown[-1, -1] == 255


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 95.5, "WindowWidth": 191}])
def test_monochrome1_is_inverted(tmp_path: Path, window: dict[str, float]) -> None:
    plain = read_image(save(tmp_path / "a.dcm", **window))
    inverted = read_image(
        save(tmp_path / "b.dcm", PhotometricInterpretation="MONOCHROME1", **window)
    )
    assert (inverted.pixels == 255 - plain.pixels).all()
    assert (inverted.low, inverted.high) == (plain.low, plain.high)


def test_a_windowless_table_of_values_is_applied(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = np.arange(255, -1, -1, dtype=np.uint16).tobytes()
    path = save(tmp_path / "a.dcm", VALUES.astype(np.uint8), VOILUTSequence=[table])
    assert (read_image(path).pixels[..., 0] == 255 - np.rint(VALUES / 190 * 255)).all()


def test_colour_stays_colour(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    assert (read_image(save(tmp_path / "a.dcm", values)).pixels == values).all()


def test_several_frames_are_refused_with_a_word(tmp_path: Path) -> None:
    frames = np.zeros((6, 4), np.uint8)
    path = save(tmp_path / "a.dcm", frames, NumberOfFrames=2, Rows=3)
    with pytest.raises(Unreadable, match="holds 2 frames"):
        read_image(path)


def test_a_file_without_pixels_is_named(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(save(tmp_path / "a.dcm"))
    del dataset.PixelData
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(Unreadable, match="without an image"):
        read_image(tmp_path / "a.dcm")


def test_pixels_cut_short_are_named_in_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", PixelData=b"")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Unreadable, match=r"a\.dcm: cannot be decoded") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # pydicom's many words on what is broken
def test_whatever_is_broken_inside_a_file_it_is_read_or_named(tmp_path: Path) -> None:
    tags = {"WindowCenter": 80, "WindowWidth": 60, "RescaleSlope": 2, "RescaleIntercept": 1}
    path, random = save(tmp_path / "a.dcm", **tags), np.random.default_rng(0)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(150):
        broken = whole.copy()
        broken[random.integers(128, len(whole), 4)] = random.integers(0, 255, 4)
        path.write_bytes(broken.tobytes())
        with suppress(Unreadable):
            assert read_image(path).pixels.ndim == 3


def test_no_content_of_a_broken_file_is_told(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.dcm", PatientName="Smith^Jane").read_bytes()
    start = whole.index(b"Smith")
    for cut in range(start, len(whole), 3):
        (tmp_path / "a.dcm").write_bytes(whole[:cut])
        with suppress(Unreadable):
            read_image(tmp_path / "a.dcm")
            continue
        with pytest.raises(Unreadable) as caught:
            read_image(tmp_path / "a.dcm")
        assert "Smith" not in str(caught.value)


def test_a_file_without_suffix_is_read_by_its_mark(tmp_path: Path) -> None:
    path = save(tmp_path / "IM0001")
    assert read_image(path).pixels.shape == (4, 5, 1)


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not beside this checkout")
@pytest.mark.parametrize(("series", "count"), [("brain_flair", 22), ("hippocampus_crop", 32)])
def test_real_series_are_read(series: str, count: int) -> None:
    pictures = [read_image(path) for path in sorted((REAL / series).glob("*.dcm"))]
    assert len(pictures) == count
    assert all(picture.pixels.shape[2] == 1 and picture.pixels.any() for picture in pictures)
