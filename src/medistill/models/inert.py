"""A pickled network, read as data: its classes are never imported, and nothing of it runs.

`torch.save(model)` pickles a whole network and not its tensors, as TorchXRayVision's files do. Such
a pickle names classes to import. Here each name is looked up in two lists instead: a few harmless
functions have a counterpart below, objects of well-known libraries become husks that only keep
their attributes, and anything else ends the reading.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_MAGIC = 0x1950A86A20F9469CFC6C  # begins what torch saved before 1.6
_HUSKS = ("torch.nn.", "torchvision.", "torchxrayvision.", "timm.", "argparse.Namespace",
          "pytorch_lightning.", "lightning.")  # fmt: skip
_DTYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32, "Short": torch.int16,
    "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
}  # fmt: skip


class ForbiddenError(Exception):
    """A pickle asks for a class or a function that is not read; it says which."""


class Husk:
    """Stands for an object whose class is not imported: it keeps attributes, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...


def read_inert(path: Path) -> Any:
    """What a pickle holds, with tensors as they are and every other object as a husk.

    Raises:
        ForbiddenError: It asks for something that is on neither list.
        pickle.UnpicklingError: It is damaged, or torch did not save it.
    """
    try:
        return _read(path)
    except MemoryError:
        # Where a number is damaged, a place in the memo may be asked for that no memory reaches.
        raise pickle.UnpicklingError("it asks for more memory than there is") from None


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        # torch saves archives since 1.6; a stream of pickles before, and where it is asked to.
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                return _read_archive(archive)
        file.seek(0)
        return _read_stream(file)


def state_of(network: Husk) -> dict[str, Tensor]:
    """The tensors of a pickled network by their names, as its `state_dict` would give them."""
    return dict(_tensors(network, ""))


def _tensors(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    parts = vars(module) if isinstance(module, Husk) else {}
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _items(parts.get(kind)):
            # A bias that a layer does not have is registered as None.
            if isinstance(tensor, Tensor):
                yield prefix + name, tensor
    for name, child in _items(parts.get("_modules")):
        yield from _tensors(child, f"{prefix}{name}.")


def _items(parts: Any) -> Iterator[tuple[str, Any]]:
    yield from parts.items() if isinstance(parts, Mapping) else ()


class _Reader(pickle.Unpickler):
    """An unpickler that imports nothing."""

    def __init__(self, file: BufferedIOBase) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self.storages: dict[str, Tensor] = {}
        self.husk = type("Husk", (Husk,), {})  # its own, for a pickle can set attributes of it

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        # Names are compared whole: `builtins.set` is harmless, and `builtins.setattr` is not.
        if path in _HARMLESS:
            return _HARMLESS[path]
        if module in ("torch", "torch.cuda") and name.removesuffix("Storage") in _DTYPES:
            return _DTYPES[name.removesuffix("Storage")]
        if path.startswith(_HUSKS):
            return self.husk
        raise ForbiddenError(path)

    def persistent_load(self, reference: Any) -> Any:
        kind, first, *rest = reference
        if kind == "module":  # a class with its source code, which nobody needs
            return first
        key, _, length, *_ = rest
        # Filled later: a pickle names storages before their numbers come, and several tensors may
        # share one.
        return self.storages.setdefault(str(key), torch.empty(length, dtype=first))


def _read_stream(file: BufferedIOBase) -> Any:
    if _Reader(file).load() != _MAGIC:
        raise pickle.UnpicklingError("it was not saved by torch")
    for _ in ("protocol", "byte order and sizes of the machine"):
        _Reader(file).load()
    reader = _Reader(file)
    content = reader.load()
    for key in _Reader(file).load():
        storage = reader.storages[str(key)]
        file.read(8)  # the length again
        _fill(storage, file.read(storage.nbytes))
    return content


def _read_archive(archive: zipfile.ZipFile) -> Any:
    (entry,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
    reader = _Reader(BytesIO(archive.read(entry)))
    content = reader.load()
    for key, storage in reader.storages.items():
        _fill(storage, archive.read(f"{entry.removesuffix('data.pkl')}data/{key}"))
    return content


def _fill(storage: Tensor, data: bytes) -> None:
    if len(data) < storage.nbytes:
        raise pickle.UnpicklingError("the file ends before its last tensor")
    storage.view(torch.uint8).numpy()[:] = memoryview(data)[: storage.nbytes]


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


_HARMLESS = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
