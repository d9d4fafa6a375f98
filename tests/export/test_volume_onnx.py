from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from medistill.export.parity import ParityError
from medistill.export.session import is_segmentation, open_session
from medistill.export.volume_metadata import VolumeMetadata
from medistill.export.volume_onnx import check_segmenter, export_segmenter
from medistill.models.segmenters.base import Answering, build_segmenter
from medistill.types import Output

from .outlining import CLASSES, Brightness, config

SMALL = {"widths": [4, 8, 16], "hidden": 16, "heads": 2, "layers": 1}


@pytest.fixture(scope="module")
def sat() -> Answering:
    """A text-prompted segmenter that is asked for two of its three classes."""
    torch.manual_seed(0)
    segmenter = build_segmenter("sat/unet", SMALL, ["liver", *CLASSES])
    return Answering(segmenter, CLASSES).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_segmenter(Brightness(), config(), path)
    return path


def patches(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


def test_text_prompted_segmenter_says_the_same_in_onnx(sat: Answering, tmp_path: Path) -> None:
    path, side = tmp_path / "model.onnx", (32, 32, 32)
    export_segmenter(sat, config(patch=list(side)), path)
    shown = patches(3, *side)

    parity = check_segmenter(path, sat, list(shown))
    assert parity.patches == 3
    assert parity.largest < 1e-5

    session = open_session(path)
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("patches", ["batch", 1, *side])
    assert (found.name, found.shape) == ("probabilities", ["batch", 2, *side])
    (all_at_once,) = session.run(None, {"patches": shown[:, None]})
    with torch.no_grad():
        logits = sat(torch.from_numpy(shown)[:, None]).logits
    assert np.allclose(all_at_once, logits.sigmoid(), atol=1e-5)


def test_file_says_what_it_is_and_nothing_of_the_machine(exported: Path) -> None:
    assert is_segmentation(open_session(exported))
    model = onnx.load(exported)
    (entry,) = model.metadata_props
    assert VolumeMetadata.from_json(entry.value) == VolumeMetadata.of(config())
    assert str(Path(__file__).parent) not in str(model)


def test_same_network_gives_the_same_bytes_and_stays_as_it_is(
    exported: Path, tmp_path: Path
) -> None:
    network = Brightness().train()
    export_segmenter(network, config(), tmp_path / "again.onnx")

    assert network.training
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()


def test_file_of_another_network_is_refused(exported: Path) -> None:
    with pytest.raises(ParityError, match="Do not use this file"):
        check_segmenter(exported, Brightness((0.5, 1.6)), list(patches(2, 8, 8, 4)))


def test_what_is_no_number_is_no_agreement(exported: Path) -> None:
    class Nothing(nn.Module):
        def forward(self, images: Tensor) -> Output:
            nothing = images.expand(-1, 2, -1, -1, -1) * torch.nan
            return Output(nothing, nothing.flatten(2).mean(2))

    with pytest.raises(ParityError, match="up to inf"):
        check_segmenter(exported, Nothing(), list(patches(1, 8, 8, 4)))
