"""A pickled network is data: whatever its bytes are, nothing is imported and nothing runs."""

import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from medistill.models.inert import ForbiddenError, Husk, read_inert, state_of


def saved(content: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def read(data: bytes, folder: Path) -> Any:
    path = folder / "file.pt"
    path.write_bytes(data)
    return read_inert(path)


def tensors() -> dict[str, Tensor]:
    """Of every type, shape and stride that a file may hold."""
    base = torch.arange(24.0)
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int16, torch.uint8)
    return {
        "transposed": base.view(4, 6).T,
        "part": base[5:11:2],
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
        "bool": torch.tensor([True, False]),
        **{str(kind): torch.arange(5).to(kind) for kind in kinds},
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_read_as_torch_itself_reads_them(tmp_path: Path, zipped: bool) -> None:
    found = read(saved(tensors(), zipped), tmp_path)
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert_close(found[name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_share_their_numbers_still_share_them(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(6.0)
    found = read(saved({"whole": base, "half": base[3:]}, zipped), tmp_path)
    found["whole"][4] = 100
    assert found["half"].tolist() == [3, 100, 5]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_network_gives_the_state_that_it_would_give(tmp_path: Path, zipped: bool) -> None:
    network = nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 4, 3),
            body=nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.PReLU()),
            head=nn.Linear(4, 2, bias=False),
        )
    )
    husk = read(saved(network, zipped), tmp_path)
    assert isinstance(husk, Husk) and not isinstance(husk, nn.Module)
    found = state_of(husk)
    assert list(found) == list(network.state_dict())
    assert_close(found, dict(network.state_dict()), rtol=0, atol=0)


def test_what_is_no_network_has_no_tensors() -> None:
    assert state_of(Husk()) == {}
    strange = Husk()
    vars(strange).update(_parameters={"a": "no tensor", "b": None}, _modules=[1], _buffers=None)
    assert state_of(strange) == {}


class Calls:
    """Asks for a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.asked = function, arguments

    def __reduce__(self) -> Any:
        return self.asked


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (Calls(eval, "1"), "__builtin__.eval"),
        (Calls(getattr, "a", "upper"), "__builtin__.getattr"),
        (Calls(sys.exit), "sys.exit"),
        (Calls(torch.hub.load, "a/b", "c"), "torch.hub.load"),
        (Calls(torch.load, "elsewhere"), "torch.serialization.load"),
    ],
)
def test_a_function_that_is_on_no_list_ends_the_reading_by_its_name(
    tmp_path: Path, zipped: bool, asked: Calls, name: str
) -> None:
    with pytest.raises(ForbiddenError, match=rf"^{name}$"):
        read(saved({"weight": torch.ones(1), "more": [asked]}, zipped), tmp_path)


@pytest.mark.parametrize("module", ["torch.nnx", "torchvisionx", "timmy.models", "torch"])
def test_a_name_that_begins_like_a_library_is_another_one(tmp_path: Path, module: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02c" + module.encode() + b"\nThing\n.")
    with pytest.raises(ForbiddenError, match=f"{module}.Thing"):
        read(archive.getvalue(), tmp_path)


def test_no_attribute_that_a_file_sets_stays_for_the_next_file(tmp_path: Path) -> None:
    first, second = (read(saved(nn.Linear(2, 2)), tmp_path) for _ in range(2))
    assert type(first) is not type(second)
    type(first).spoilt = True
    assert not hasattr(second, "spoilt") and not hasattr(Husk, "spoilt")


def test_a_pickle_that_torch_did_not_save_is_told(tmp_path: Path) -> None:
    with pytest.raises(pickle.UnpicklingError, match="it was not saved by torch"):
        read(pickle.dumps({"weight": [1, 2]}), tmp_path)


def test_a_place_beyond_all_memory_is_damage(tmp_path: Path) -> None:
    beyond = b"\x80\x02" + b"K\x01" + b"r\xff\xff\xff\xff" + b"."
    with pytest.raises(pickle.UnpicklingError, match="it asks for more memory than there is"):
        read(beyond, tmp_path)


@cache
def weight(zipped: bool) -> bytes:
    """Saved once: the older format names storages by their addresses, of as many digits."""
    return saved({"weight": torch.arange(4.0)}, zipped)


@pytest.mark.parametrize("zipped", [True, False])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_damaged_bytes_end_in_an_error_or_in_data_and_import_nothing(
    tmp_path_factory: pytest.TempPathFactory, zipped: bool, data: st.DataObject
) -> None:
    content = bytearray(weight(zipped))
    at = data.draw(st.integers(0, len(content) - 1), label="place")
    if data.draw(st.booleans(), label="cut"):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255), label="flipped")
    before = set(sys.modules)
    try:
        read(bytes(content), tmp_path_factory.getbasetemp())
    except Exception as error:  # which one depends on where the damage is
        assert not isinstance(error, AssertionError | MemoryError), error
    assert set(sys.modules) == before
