"""A pretended accelerator: tensors on the CPU that say otherwise, and refuse what a GPU refuses.

Nothing mixes tensors of two devices, or reads one of them as an array. It stands on torch's
backends in Python, which are experimental (tried with torch 2.15), and changes the process that it
is installed in: run what needs it by `python -m tests.pretended`.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch

NAME = "pretended"
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
PICKS = {
    aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default,
    aten._index_put_impl_.default,
}  # fmt: skip


class Pretended(Tensor):
    """A tensor that says it lies on the pretended device."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> "Pretended":
        made: Pretended = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(),
            dtype=raw.dtype, layout=raw.layout, device=torch.device(NAME, 0),
        )  # fmt: skip
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return computed(operation, *args, **(kwargs or {}))

    def __reduce_ex__(self, protocol: Any) -> Any:  # loads to the CPU, as checkpoints are loaded
        return self.raw.detach().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> "Pretended":
        copied = Pretended(self.raw.detach().clone())
        copied.requires_grad_(self.requires_grad)
        copied._is_param = getattr(self, "_is_param", False)  # what makes a Parameter of it
        return copied

    def tolist(self) -> Any:
        return self.raw.tolist()

    def new_tensor(self, data: Any, **_: Any) -> Tensor:
        return torch.tensor(data, dtype=self.dtype).to(self.device)

    def numpy(self, **_: Any) -> Any:
        raise TypeError("a tensor of an accelerator is no array: call cpu() first")

    __array__ = numpy


def computed(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """What an operation gives, computed on the CPU."""
    flat = pytree.tree_leaves((args, kwargs))
    ours = [each for each in flat if isinstance(each, Pretended)]
    theirs = [each for each in flat if type(each) is not Pretended and isinstance(each, Tensor)]
    if ours and any(each.ndim for each in theirs) and not _may_mix(operation, args):
        raise RuntimeError(f"{operation}: tensors of two devices")
    asked = [torch.device(each) for each in flat if isinstance(each, torch.device)]
    stays = asked[0].type == NAME if asked else bool(ours)
    if operation is aten.copy_.default:
        _raw(args[0]).copy_(_raw(args[1]))
        return args[0]
    given, named = pytree.tree_map(_raw, (args, kwargs))
    if "pin_memory" in named:
        named["pin_memory"] = False
    known = {id(each.raw): each for each in ours}

    def told(found: Any) -> Any:
        if not isinstance(found, Tensor):
            return found
        if stays:
            return known[id(found)] if id(found) in known else Pretended(found)
        return found.clone() if id(found) in known else found

    result = operation(*given, **named)
    if torch.Tag.inplace_view in operation.tags:  # its shape changes, and so must what is said
        with _as_meta():
            operation(*args, **kwargs)
        return args[0]
    return pytree.tree_map(told, result)


@contextmanager
def _as_meta() -> Iterator[None]:
    """Inside, tensors are but shapes."""
    before = torch._C._meta_in_tls_dispatch_include()
    torch._C._set_meta_in_tls_dispatch_include(True)
    try:
        with no_dispatch():
            yield
    finally:
        torch._C._set_meta_in_tls_dispatch_include(before)


def _may_mix(operation: Any, args: tuple[Any, ...]) -> bool:
    """Copies go both ways; what lies on the device may be picked by places that do not."""
    return operation in COPIES or (operation in PICKS and isinstance(args[0], Pretended))


def _raw(value: Any) -> Any:
    if isinstance(value, Pretended):
        return value.raw
    if isinstance(value, torch.device) and value.type == NAME:
        return torch.device("cpu")
    return value


class Module(backend_registration._DummyBackendModule):
    """What torch asks of a device, beside its operations."""

    def get_rng_state(self, *_: Any) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, *_: Any) -> None: ...

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def current_device(self) -> int:
        return 0


def install() -> torch.library.Library:
    """The device, for as long as the library lives."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, Module())
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    library = torch.library.Library("_", "IMPL")
    library.fallback(computed, "PrivateUse1")
    for name in ("tensor", "as_tensor", "eye"):  # which no operation of ours sees as a whole
        setattr(torch, name, _moved(getattr(torch, name)))
    return library


def _moved(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def moved(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made = make(*args, **kwargs)
        return made if device is None else made.to(device)

    return moved


def trained_methods() -> Iterator[tuple[str, Callable[[], None]]]:
    """Every method, three steps and what it deploys."""
    from medistill import catalog
    from medistill.methods.base import Method
    from medistill.training.devices import place, placed
    from tests.contract.test_methods import MOMENTS, PACKAGE, build, teacher_of
    from tests.tiny import tiny_batch

    device = torch.device(NAME, 0)

    def train(kind: type[Method]) -> None:
        teacher = teacher_of(kind)
        method = build(kind, teacher)
        teacher.encoder.to(device)
        place(method, device)
        optimizer = torch.optim.AdamW(p for p in method.parameters() if p.requires_grad)
        batch = placed(tiny_batch(), device)
        for progress in MOMENTS:
            optimizer.zero_grad()
            method.backward(method.losses(batch, progress))
            optimizer.step()
        method.load_state_dict(method.state_dict())
        for network in method.deploy().values():
            network.to(device).eval()(batch.images)

    for name in catalog.available(PACKAGE):
        kind = catalog.find(PACKAGE, name, Method)
        yield name, lambda kind=kind: train(kind)  # type: ignore[misc]


def whole_runs(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """From images, and from scans, to deployed experts, and to why."""
    import pytest

    from medistill.training import devices
    from tests.phantom_volumes import make_msd, make_nnunet
    from tests.trained import quick_finish

    devices.choose_device = lambda *_: torch.device(NAME, 0)  # before anybody imports it
    from medistill.cli.main import run
    from medistill.data.phantoms import make_phantoms

    def told(*words: object) -> None:
        assert run([str(word) for word in words]) == 0, words

    def write(name: str, text: str) -> Path:
        path = folder / f"{name}.yaml"
        path.write_text(text.format(folder=folder))
        return path

    def images() -> None:
        for name in ("brain_mr", "chest_xray"):
            make_phantoms(folder / name, name, per_class=12, size=32)
        recipe = write("images", IMAGES)
        told("train", recipe, "--out", folder / "images")
        told("train", recipe, "--set", "method=multi_task", "--out", folder / "several")
        told("analyze", folder / "images", folder / "several", "--split", "train",
             "--out", folder / "why")  # fmt: skip
        told("evaluate", folder / "images", "--task", "brain")

    def scans() -> None:
        make_msd(folder / "brain")
        make_nnunet(folder / "belly")
        recipe = write("scans", SCANS)
        told("train", recipe, "--set", "method=multi_task", "--out", folder / "large")
        told("train", recipe, "--set", f"teacher=run:{folder / 'large'}", "--out", folder / "scans")

    with pytest.MonkeyPatch.context() as patch:
        quick_finish(patch)
        yield "images", images
        yield "scans", scans


IMAGES = """\
data:
  roots: {{brain: {{root: {folder}/brain_mr}}, chest: {{root: {folder}/chest_xray}}}}
  size: 32
  views: 2
  store: {folder}/store
teacher: {{name: timm/test_resnet, weights: random}}
student: {{name: timm/test_efficientnet}}
method:
  name: knowledge_decomposition
  warmup: 0.4
  experts: {{allocation: loss_reduction, max_rank: 4}}
training: {{epochs: 3, batch_size: 16, threads: 1}}
evaluation: {{draws: 20}}
"""
SCANS = """\
data:
  roots: {{brain: {{root: {folder}/brain}}, belly: {{root: {folder}/belly}}}}
  patch: [8, 8, 4]
  steps: 2
  store: {folder}/store
student:
  name: sat/unet
  options: {{widths: [4, 8], convs: 1, hidden: 16, heads: 2, layers: 1}}
method: {{name: knowledge_decomposition}}
training: {{epochs: 2, batch_size: 2, select: dice, threads: 1}}
evaluation: {{draws: 20}}
"""


def main(folder: Path) -> int:
    """Try all, tell what failed, and give how many."""
    library, failed = install(), 0
    torch.manual_seed(0)
    for trials in (trained_methods(), whole_runs(folder)):
        for name, trial in trials:
            try:
                trial()
            except Exception:
                failed += 1
                print(f"{name}: {traceback.format_exc()}", file=sys.stderr)
    assert library
    return failed


if __name__ == "__main__":
    failures = main(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(failures)  # torch ends badly with a backend of this kind
