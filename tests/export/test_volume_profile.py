import numpy as np
import pytest

from medistill.export.volume_profile import ScanProfile, measure, quantities
from medistill.scans import Scan


def scan(low: float, high: float, spacing_mm: tuple[float, ...] = (1, 1, 3)) -> Scan:
    pixels = np.linspace(low, high, 1000, dtype=np.float32).reshape(10, 10, 10)
    return Scan(pixels, np.diag([*spacing_mm, 1.0]))


@pytest.fixture
def profile() -> ScanProfile:
    rows = [quantities((1.0, 1.0, z), -1000.0, 400.0 + 10 * z) for z in (2.0, 3.0, 5.0)]
    return ScanProfile.of(rows)


def test_scans_like_those_of_training_pass(profile: ScanProfile) -> None:
    assert profile.unlike(scan(-1000, 440)) == []


def test_each_quantity_that_leaves_its_band_is_named(profile: ScanProfile) -> None:
    (only,) = profile.unlike(scan(-1000, 440, (1, 1, 9)))
    assert only.startswith("spacing upwards in mm 9 (training: 2")

    (only,) = profile.unlike(scan(-1000, 3000))
    assert only.startswith("highest value 2980 (training: 420")

    (only,) = profile.unlike(scan(0, 430))
    assert only == "lowest value 0 (training: -1000 to -1000)"


def test_spacing_is_measured_as_the_body_lies_and_not_as_the_file() -> None:
    affine = np.eye(4)[[2, 0, 1, 3]] * [1.0, 2.0, 3.0, 1.0]  # its third axis runs to the right
    turned = Scan(np.zeros((2, 2, 2), np.float32), affine)
    assert list(measure(turned).values())[:3] == [3.0, 1.0, 2.0]


def test_values_that_are_no_numbers_do_not_count() -> None:
    odd = scan(5, 10)
    odd.pixels[0, 0, :2] = np.nan, np.inf
    told = measure(odd)
    assert 5 < told["lowest value"] < 5.02
    assert told["highest value"] == pytest.approx(9.975, abs=0.01)
    assert measure(Scan(np.full((1, 1, 1), np.nan, np.float32), np.eye(4)))["lowest value"] == 0


def test_document_gives_the_same_profile(profile: ScanProfile) -> None:
    assert ScanProfile.from_document(profile.as_document()) == profile


def test_no_scan_has_no_profile() -> None:
    with pytest.raises(ValueError, match="at least one scan"):
        ScanProfile.of([])
