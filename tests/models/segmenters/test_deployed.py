"""Segmenters on disk: rebuilt to the bit, started from by class names, exported."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.export.onnx import portable, traced
from medistill.models.deployed import save_deployed
from medistill.models.deployed_segmenters import (
    load_segmenter,
    load_segmenter_weights,
    save_segmenter,
)
from medistill.models.segmenters.base import Answering, Segmenter, build_segmenter
from tests.models.segmenters.small import CLASSES, SMALL, asked, logits, moved, sat
from tests.tiny import tiny_student

IMAGES = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))


def saved(segmenter: Segmenter, folder: Path, *classes: str) -> Path:
    save_segmenter(Answering(segmenter, classes or CLASSES), folder, {"task": folder.name})
    return folder


@pytest.mark.parametrize("name", ["sat/unet", "monai/DynUNet"])
def test_what_is_loaded_answers_as_what_was_saved(name: str, tmp_path: Path) -> None:
    options = SMALL if name == "sat/unet" else {"filters": [4, 4, 4], "strides": [1, 2, 2],
                                                "kernel_size": [3, 3, 3]}  # fmt: skip
    answering = Answering(moved(build_segmenter(name, options, CLASSES)), ["spleen"]).eval()
    save_segmenter(answering, tmp_path, {"task": "abdomen", "patch": (8, 8, 8)})
    loaded, config = load_segmenter(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES).logits, answering(IMAGES).logits)
    assert not loaded.training
    assert loaded.classes == ("spleen",)
    assert config["kind"] == "segmentation"
    assert config["patch"] == [8, 8, 8]
    assert config["vocabulary"] == list(CLASSES)


def test_a_file_of_vectors_is_not_needed_any_more(tmp_path: Path) -> None:
    file = tmp_path / "text.safetensors"
    save_file({name: torch.randn(20) for name in CLASSES}, file)
    network = sat(queries=str(file))
    saved(network, tmp_path / "run")
    file.unlink()
    loaded, config = load_segmenter(tmp_path / "run")
    assert "queries" not in config["segmenter"]["options"]
    assert torch.equal(
        logits(loaded.segmenter, IMAGES, asked([0], [1])), logits(network, IMAGES, asked([0], [1]))
    )


def test_a_start_finds_classes_by_their_names(tmp_path: Path) -> None:
    theirs = moved(sat(learned_queries=True))
    ours = sat(("aorta", "spleen"))
    before = ours.state_dict()["queries.vectors"].clone()
    report = load_segmenter_weights(ours, saved(theirs, tmp_path / "net"))
    vectors = ours.state_dict()["queries.vectors"]
    assert torch.equal(vectors[0], before[0])
    assert torch.equal(vectors[1], theirs.state_dict()["queries.vectors"][1])
    assert torch.equal(
        logits(ours, IMAGES, asked([1], [1])), logits(theirs, IMAGES, asked([1], [1]))
    )
    assert len(report.sha256) == 64


def test_a_start_finds_output_channels_by_their_names(tmp_path: Path) -> None:
    options = {"filters": [4, 4, 4], "strides": [1, 2, 2], "kernel_size": [3, 3, 3]}
    theirs = build_segmenter("monai/DynUNet", options, CLASSES).eval()
    ours = build_segmenter("monai/DynUNet", options, ("spleen", "aorta")).eval()
    load_segmenter_weights(ours, saved(theirs, tmp_path) / "model.safetensors")
    assert torch.equal(
        logits(ours, IMAGES, asked([0], [0])), logits(theirs, IMAGES, asked([1], [1]))
    )


def test_a_run_is_asked_for_its_task(tmp_path: Path) -> None:
    networks = {name: moved(sat()) for name in ("brain", "heart")}
    for name, network in networks.items():
        saved(network, tmp_path / "deployed" / name)
    ours = sat()
    load_segmenter_weights(ours, tmp_path, task="heart")
    key = "unet.ups.0.weight"
    assert torch.equal(ours.state_dict()[key], networks["heart"].state_dict()[key])
    with pytest.raises(UserError, match="name one of its tasks; it holds brain, heart"):
        load_segmenter_weights(ours, tmp_path)


def test_tensors_by_our_own_names_load_too(tmp_path: Path) -> None:
    theirs, ours = moved(sat()), sat()
    save_file(Answering(theirs, CLASSES).state_dict(), tmp_path / "own.safetensors")
    load_segmenter_weights(ours, tmp_path / "own.safetensors")
    assert all(torch.equal(t, ours.state_dict()[n]) for n, t in theirs.state_dict().items())


def test_random_keeps_what_there_is() -> None:
    ours = sat()
    before = ours.state_dict()["unet.ups.0.weight"].clone()
    assert load_segmenter_weights(ours, "random").source == "random"
    assert torch.equal(ours.state_dict()["unet.ups.0.weight"], before)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"heads": 3}, "heads is 2 there and 3 here"),
        ({"strides": [1, 2, 4]}, r"strides is \[\[1, 1, 1\], .* \[4, 4, 4\]\] here"),
        ({"strides": [1, 2, 2], "mask": 6}, "mask_embedding.0.bias is 5 in the file, not 6"),
        ({"dropout": 0.0, "learned_queries": True}, None),
    ],
)
def test_a_start_is_of_the_same_network(
    options: dict[str, Any], says: str | None, tmp_path: Path
) -> None:
    folder, ours = saved(sat(), tmp_path), sat(**options)
    if says is None:
        load_segmenter_weights(ours, folder)
        return
    with pytest.raises(UserError, match=says) as raised:
        load_segmenter_weights(ours, folder)
    assert "\n" not in str(raised.value)


def test_a_network_that_classifies_is_no_segmenter(tmp_path: Path) -> None:
    save_deployed(tiny_student(), tmp_path, {"task": "a", "classes": ["x", "y", "z"], "size": 12})
    with pytest.raises(UserError, match="holds a network that classifies images"):
        load_segmenter(tmp_path)


def test_tensors_of_another_network_are_refused(tmp_path: Path) -> None:
    saved(sat(), tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="its tensors are not those of sat/unet"):
        load_segmenter(tmp_path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def test_a_pickle_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(UserError, match="could run code"):
        load_segmenter_weights(sat(), tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()


class _Probabilities(nn.Module):
    def __init__(self, answering: Answering) -> None:
        super().__init__()
        self.answering = answering

    def forward(self, images: Tensor) -> Tensor:
        said: Tensor = self.answering(images).logits
        return said.sigmoid()


def test_onnx_agrees_for_any_number_of_patches() -> None:
    network = moved(sat(strides=[1, 2, [2, 2, 1]], inputs=3))
    answering = Answering(network, ["left kidney", "liver"]).eval()
    model = _Probabilities(portable(answering))
    batch = torch.export.Dim("batch")
    graph = traced(model, IMAGES, "image", ["probabilities"], {0: batch}).model_proto
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    images = torch.randn(3, 1, 8, 8, 8)
    with torch.no_grad():
        expected = answering(images).logits.sigmoid().numpy()
    (found,) = session.run(None, {"image": images.numpy()})
    np.testing.assert_allclose(found, expected, atol=1e-5)
