"""Weights find their places all together, or nothing is loaded; and no pickle is executed."""

import copy
import hashlib
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from medistill.errors import UserError
from medistill.models.backbones.base import Backbone, build_backbone
from medistill.models.networks import Encoder, Student
from medistill.models.state_files import read_state
from medistill.models.weights import digest, load_weights

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "weights"
SMALL = "torchvision/shufflenet_v2_x0_5"
real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"no weights at {REAL}")


@pytest.fixture(scope="module")
def built() -> Backbone:
    return build_backbone(SMALL)


@pytest.fixture
def backbone(built: Backbone) -> Backbone:
    return copy.deepcopy(built)


@pytest.fixture(scope="module")
def others() -> dict[str, Tensor]:
    return dict(build_backbone(SMALL).network.state_dict())


@pytest.fixture
def state(others: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of another backbone of the same kind."""
    return dict(others)


def refusal(backbone: Backbone, weights: str | Path) -> str:
    """What the error says, having checked that nothing changed and that it is one line."""
    before = digest(backbone)
    with pytest.raises(UserError) as raised:
        load_weights(backbone, weights)
    assert digest(backbone) == before
    assert "\n" not in str(raised.value)
    return str(raised.value)


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_random_weights_stay_and_are_told_apart_by_their_digest(backbone: Backbone) -> None:
    before = digest(backbone)
    report = load_weights(backbone, "random")
    assert (report.source, report.sha256, report.left_out) == ("random", before, ())
    torch.manual_seed(1)
    assert digest(build_backbone(SMALL)) != before


def test_a_file_is_loaded_whole(
    backbone: Backbone, state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    report = load_weights(backbone, path)
    assert all(torch.equal(state[n], t) for n, t in backbone.network.state_dict().items())
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.source == str(path)


def test_the_head_of_the_file_is_left_out_by_name(
    backbone: Backbone, state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save({**state, "fc.weight": torch.ones(9, 1024), "fc.bias": torch.ones(9)}, path)
    assert load_weights(backbone, path).left_out == ("fc.bias", "fc.weight")


def test_half_precision_becomes_single(
    backbone: Backbone, state: dict[str, Tensor], tmp_path: Path
) -> None:
    halves = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    torch.save(halves, tmp_path / "weights.pth")
    load_weights(backbone, tmp_path / "weights.pth")
    loaded = backbone.network.state_dict()["conv1.0.weight"]
    assert torch.equal(loaded, halves["conv1.0.weight"].float())


@pytest.mark.parametrize("wrapping", ["state_dict", "model_state_dict", "model", "network_weights"])
def test_checkpoints_are_unwrapped(
    wrapping: str, backbone: Backbone, state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({"epoch": 3, "accuracy": np.float64(0.5), wrapping: state}, tmp_path / "last.pt")
    load_weights(backbone, tmp_path / "last.pt")
    assert torch.equal(backbone.network.state_dict()["conv5.0.weight"], state["conv5.0.weight"])


@pytest.mark.parametrize(
    "prefix", ["module.", "model.backbone.", "image_encoder.", "module.visual.trunk."]
)
def test_known_prefixes_are_stripped_and_other_towers_left_out(
    prefix: str, backbone: Backbone, state: dict[str, Tensor], tmp_path: Path
) -> None:
    prefixed = {prefix + name: tensor for name, tensor in state.items()}
    torch.save({**prefixed, "text_encoder.embedding": torch.ones(3)}, tmp_path / "clip.pth")
    assert load_weights(backbone, tmp_path / "clip.pth").left_out == ("text_encoder.embedding",)


def test_a_deployed_network_of_ours_is_such_a_file(backbone: Backbone, tmp_path: Path) -> None:
    student = Student(Encoder(build_backbone(SMALL)), 2)
    save_file(student.state_dict(), tmp_path / "model.safetensors")
    report = load_weights(backbone, tmp_path / "model.safetensors")
    assert report.left_out == ("head.bias", "head.weight")
    assert digest(backbone) == digest(student.backbone)


def test_counters_that_old_files_lack_are_not_missed(
    backbone: Backbone, state: dict[str, Tensor], tmp_path: Path
) -> None:
    kept = {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    torch.save(kept, tmp_path / "old.pth")
    assert load_weights(backbone, tmp_path / "old.pth").left_out == ()


def test_a_part_of_the_encoder_is_not_enough(
    backbone: Backbone, state: dict[str, Tensor], tmp_path: Path
) -> None:
    del state["conv5.0.weight"]
    torch.save(state, tmp_path / "part.pth")
    says = refusal(backbone, tmp_path / "part.pth")
    assert "teacher weights: 1 of 336 encoder tensors found no place" in says
    assert "(conv5.0.weight is not in the file); nothing was loaded" in says


def test_tensors_of_a_larger_network_are_not_dropped_in_silence(
    backbone: Backbone, state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({**state, "stage4.4.branch2.0.weight": torch.ones(1)}, tmp_path / "more.pth")
    says = refusal(backbone, tmp_path / "more.pth")
    assert f"stage4.4.branch2.0.weight is not in {SMALL}" in says


def test_another_architecture_is_recognised(backbone: Backbone, tmp_path: Path) -> None:
    other = build_backbone("torchvision/resnet18").network.state_dict()
    torch.save(other, tmp_path / "other.pth")
    says = refusal(backbone, tmp_path / "other.pth")
    assert "conv1.0.weight is not in the file" in says
    assert says.endswith("Is this torchvision/resnet18?")


def test_other_shapes_are_told(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "half.pth")
    says = refusal(build_backbone("torchvision/shufflenet_v2_x1_0"), tmp_path / "half.pth")
    assert "stage2.0.branch1.2.weight is 24x24x1x1 in the file, not 58x24x1x1" in says
    assert says.endswith(f"Is this {SMALL}?")


def test_a_network_that_nobody_knows_is_shown_by_its_first_tensor(
    backbone: Backbone, tmp_path: Path
) -> None:
    torch.save({"stem.weight": torch.ones(2, 3)}, tmp_path / "own.pth")
    assert "begins with stem.weight 2x3" in refusal(backbone, tmp_path / "own.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_executed(
    zipped: bool, backbone: Backbone, state: dict[str, Tensor], tmp_path: Path
) -> None:
    trap, path = tmp_path / "executed", tmp_path / "weights.pth"
    torch.save(
        {"state_dict": state, "extra": Malicious(trap)},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    says = refusal(backbone, path)
    assert not trap.exists()
    assert "could run code; nothing of it was executed" in says
    torch.load(path, weights_only=False)
    assert trap.exists()  # so the trap was a real one


@pytest.mark.parametrize(
    "content", [b"", b"a label,a path\n", b"PK\x03\x04 cut off", b"\x08" + b"\0" * 7 + b"{broken}"]
)
def test_a_damaged_file_is_named(content: bytes, backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert f"{path} cannot be read" in refusal(backbone, path)


def test_a_file_without_names_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    assert "holds no named tensors" in refusal(backbone, tmp_path / "list.pth")


def test_a_missing_file_is_named_as_written_and_as_resolved(backbone: Backbone) -> None:
    says = refusal(backbone, "no/such.pth")
    assert "no file at no/such.pth" in says
    assert str(Path("no/such.pth").resolve()) in says


def test_whose_weights_they_are_is_said(backbone: Backbone) -> None:
    with pytest.raises(UserError, match="student weights: no file"):
        load_weights(backbone, "no/such.pth", role="student")


@pytest.mark.parametrize("name", [SMALL, "timm/lcnet_050"])
def test_published_weights_without_a_network_end_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocked(*_: object, **__: object) -> None:
        raise OSError("sockets are blocked")

    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    monkeypatch.setattr(socket.socket, "connect", blocked)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    says = refusal(build_backbone(name), "pretrained")
    assert f"those published for {name} could not be had" in says
    assert "`weights: PATH`" in says
    assert "`weights: random`" in says


def test_published_weights_are_held_to_the_same_rule(
    backbone: Backbone, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    published = {**state, "fc.weight": torch.ones(1000, 1024)}
    monkeypatch.setattr(type(backbone), "pretrained", lambda _: published)
    report = load_weights(backbone, "pretrained")
    assert (report.source, report.left_out) == ("pretrained", ("fc.weight",))
    assert report.sha256 == digest(backbone)


def test_the_digest_depends_on_every_tensor_and_name() -> None:
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    other.load_state_dict(one.state_dict())
    assert digest(one) == digest(other)
    assert digest(torch.nn.Sequential(one)) != digest(one)
    with torch.no_grad():
        other.bias[1] += 1
    assert digest(one) != digest(other)


@real_data
@pytest.mark.parametrize(
    ("name", "options", "file"),
    [
        ("timm/mobilenetv2_100", {"pad_type": "same"}, "imagenet_mobilenetv2_100_tf"),
        ("torchvision/mobilenet_v3_small", {}, "chestxray_mobilenet_v3_small_torchvision"),
    ],
)
def test_real_weights_load_strictly(name: str, options: dict[str, str], file: str) -> None:
    backbone = build_backbone(name, options)
    path = REAL / f"{file}.safetensors"
    report = load_weights(backbone, path)
    assert report.left_out == ()
    kept = backbone.network.state_dict()
    assert all(torch.equal(t, kept[n].to(t)) for n, t in read_state(path).items())
