from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medistill.data.formats import decode_array, image_files, read_image
from medistill.export.onnx import export_onnx
from medistill.export.parity import ParityError, check_parity, in_torch
from medistill.resampling import resize
from medistill.types import Output

from .conftest import ODD_SIZES, config, network_of, random_picture

REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize("name", ["mobilenet_v2", "shufflenet_v2", "resnet18", "vit"])
def test_file_equals_network_for_pictures_of_any_size(name: str, tmp_path: Path) -> None:
    network, path = network_of(name), tmp_path / "model.onnx"
    export_onnx(network, config(), path)
    pictures = [random_picture(*size) for size in ODD_SIZES] + [random_picture(90, 80, 1)]

    parity = check_parity(path, network, config(), pictures)

    assert parity.pictures == 7
    assert parity.largest < 1e-5  # no pixel of these lies on a half


def test_pictures_that_are_compared_get_different_answers(small: nn.Module) -> None:
    # Else parity would say nothing.
    dark, bright = random_picture(50, 60), random_picture(50, 60)
    dark.pixels[:] //= 4

    answers = [in_torch(small, config(), picture).numpy() for picture in (dark, bright)]

    assert np.abs(answers[0] - answers[1]).max() > 0.1


def test_another_network_than_the_exported_one_is_an_error_that_states_the_difference(
    small: nn.Module, exported: Path
) -> None:
    torch.nn.init.zeros_(small.head.weight)

    with pytest.raises(ParityError, match=r"on 1 of 1 images .* by up to 0\.\d+, more than 0\.001"):
        check_parity(exported, small, config(), [random_picture(70, 70)])


def test_a_network_that_gives_nan_has_no_parity(small: nn.Module, tmp_path: Path) -> None:
    torch.nn.init.constant_(small.head.weight, float("nan"))
    export_onnx(small, config(), tmp_path / "model.onnx")

    with pytest.raises(ParityError, match="nan"):
        check_parity(tmp_path / "model.onnx", small, config(), [random_picture(70, 70)])


class Touchy(nn.Module):
    """One grey level in one pixel moves its probabilities by far more than the tolerance."""

    def forward(self, images: Tensor) -> Output:
        level = (images * 255).sum(dim=(1, 2, 3))
        logits = torch.stack([0.1 * (level - 128 * 3 * 32 * 32), 0 * level], dim=1)
        return Output(logits, logits)


def export_shifted(
    shift: float, network: nn.Module, path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """An exported file whose resizing is off by a part of a grey level."""
    known = config(classes=["a", "b"], size=32)
    with monkeypatch.context() as patch:
        patch.setattr(
            "medistill.export.onnx.resize", lambda image, size: resize(image, size) + shift
        )
        export_onnx(network, known, path)
    return known


def test_pixel_between_two_levels_is_told_from_a_wrong_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, path = Touchy().eval(), tmp_path / "model.onnx"
    known = export_shifted(1e-4, network, path, monkeypatch)
    pixels = np.full((64, 64), 128, np.uint8)
    pixels[20, 20] += 32  # halving spreads it as 0.5, 1.5, 1.5 and 4.5
    picture = decode_array(pixels)
    halves = (resize(torch.tensor(pixels[None]).float(), 32) % 1 == 0.5).sum().item()

    parity = check_parity(path, network, known, [picture])

    assert halves == 4
    assert (parity.rounded, parity.pictures) == (1, 1)
    assert parity.largest > 1e-3


def test_resizing_that_is_off_by_half_a_level_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, path = Touchy().eval(), tmp_path / "model.onnx"
    known = export_shifted(0.4, network, path, monkeypatch)

    with pytest.raises(ParityError, match="differs from torch"):
        check_parity(path, network, known, [random_picture(64, 64)])


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real data in ../shared/data")
def test_file_equals_network_on_real_slices(tmp_path: Path) -> None:
    network, path = network_of("vit"), tmp_path / "model.onnx"
    export_onnx(network, config(), path)
    folder = REAL / "covid_ct" / "val"
    pictures = [read_image(folder / name) for name in image_files(folder)[::5]]

    assert check_parity(path, network, config(), pictures).largest < 1e-3
