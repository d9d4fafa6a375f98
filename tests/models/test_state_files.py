"""What users have in place of a state dict is named, or read without running it."""

import re
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.state_files import read_state


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> type[nn.Module]:
    """A class of TorchXRayVision, which is installed while a file is written, and gone after."""

    class DenseNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                OrderedDict(
                    [("conv0", nn.Conv2d(1, 4, 3, bias=False)), ("norm0", nn.BatchNorm2d(4))]
                )
            )
            self.classifier = nn.Linear(4, 18)
            self.op_threshs = None
            self.relu = nn.functional.relu

    package, module = (
        types.ModuleType("torchxrayvision"),
        types.ModuleType("torchxrayvision.models"),
    )
    DenseNet.__module__, DenseNet.__qualname__ = module.__name__, "DenseNet"
    module.DenseNet = DenseNet  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return DenseNet


def saved(content: Any, path: Path, *, zipped: bool) -> Path:
    with warnings.catch_warnings():  # that the source of a class made here cannot be added
        warnings.simplefilter("ignore")
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    sys.modules.pop("torchxrayvision.models", None)
    sys.modules.pop("torchxrayvision", None)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        read_state(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_pickled_network_of_torchxrayvision_is_read_without_its_code(
    theirs: type[nn.Module], tmp_path: Path, zipped: bool, wrapped: bool
) -> None:
    network = theirs()
    network.features.half()  # type: ignore[operator, union-attr]
    content = {"model": nn.DataParallel(network), "epoch": 3} if wrapped else network
    state = read_state(saved(content, tmp_path / "best.pt", zipped=zipped))
    prefix = "module." if wrapped else ""
    expected: dict[str, Tensor] = network.state_dict()
    assert set(state) == {prefix + name for name in expected}
    assert all(torch.equal(state[prefix + name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("within", [True, False])
def test_what_would_run_code_is_refused_wherever_it_stands(
    theirs: type[nn.Module], tmp_path: Path, zipped: bool, within: bool
) -> None:
    trap, content = tmp_path / "executed", theirs()
    content.op_threshs = Malicious(trap)  # type: ignore[assignment]
    whole = content if within else {"model": content, "extra": Malicious(trap)}
    path = saved(whole, tmp_path / "best.pt", zipped=zipped)
    says = refusal(path)
    assert not trap.exists()
    assert "could run code; nothing of it was executed" in says
    assert "Convert its state dict to safetensors on a machine you trust." in says


@pytest.mark.parametrize("zipped", [True, False])
def test_a_network_of_ones_own_is_refused_by_the_name_of_its_class(
    tmp_path: Path, zipped: bool
) -> None:
    path = saved(Own(), tmp_path / "model.pt", zipped=zipped)
    assert "asks for tests.models.test_state_files.Own" in refusal(path)


class Own(nn.Module):
    """A network that no library has."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


def test_a_network_that_is_cut_off_is_refused(theirs: type[nn.Module], tmp_path: Path) -> None:
    path = saved(theirs(), tmp_path / "best.pt", zipped=False)
    path.write_bytes(path.read_bytes()[:-20])
    refusal(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "a Keras file (HDF5); name the PyTorch file"),
        (b"<!DOCTYPE html><html>Google Drive", "a web page, saved in place of the file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
)
def test_what_was_downloaded_in_place_of_the_file_is_named(
    content: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    assert re.search(rf"weights\.pth is {re.escape(told)}", refusal(tmp_path / "weights.pth"))


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "models.zip", "w") as archive:
        archive.writestr("RadImageNet_pytorch/ResNet50.pt", b"")
    says = refusal(tmp_path / "models.zip")
    assert says.endswith("unpack it, and name a file in it (RadImageNet_pytorch/ResNet50.pt).")


def test_halves_of_bfloat16_and_views_are_read_as_they_are(tmp_path: Path) -> None:
    whole = nn.Linear(4, 4, bias=False).bfloat16()
    whole.weight = nn.Parameter(whole.weight.data[1:, ::2])
    state = read_state(saved(whole, tmp_path / "views.pt", zipped=False))
    assert torch.equal(state["weight"], whole.weight.data)
