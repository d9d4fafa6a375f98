"""What every family of backbones has in common: images in, one map per scale out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medistill import catalog
from medistill.errors import UserError


@dataclass(frozen=True)
class BackboneSpec:
    """The name and the constructor's options from which a backbone can be built again."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


class Backbone(nn.Module, ABC):
    """A library's network without its head, its own names of tensors under `network`.

    Args:
        architecture: Its name in the library, without the family.
        options: What else reaches the library's constructor.

    Attributes:
        spec: From which `build_backbone` makes it again.
        network: The library's module.
        mean: Of each channel of images in [0, 1], as its weights were trained.
        std: Likewise.
        stretch: Whether each image was first stretched to [0, 1], likewise.
        size: Height and width of the images that it was designed for.
        dropped: Parts of the library's network that the last map does not depend on.
    """

    spec: BackboneSpec
    network: nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stretch: bool = False
    size: int
    dropped: set[str]

    @abstractmethod
    def __init__(self, architecture: str, options: Mapping[str, Any]) -> None:
        super().__init__()

    @staticmethod
    @abstractmethod
    def names() -> list[str]:
        """The architectures that the library knows."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "batch channels *space"]) -> tuple[Tensor, ...]:
        """Maps of normalised images, one per scale, fine to coarse; the last is what is pooled."""

    @abstractmethod
    def pretrained(self) -> dict[str, Tensor]:
        """The state of `network` that the library publishes, fetched or taken from its cache."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each map, fine to coarse."""
        return tuple(shape[0] for shape in self.shapes(self.size))

    @property
    def width(self) -> int:
        """Channels of the last map: the length of the pooled features."""
        return self.widths[-1]

    def shapes(self, size: int) -> tuple[tuple[int, ...], ...]:
        """Channels, height and width of each map, for images of `size` x `size`.

        Raises:
            UserError: The architecture does not take images of this size.
        """
        if size not in self._shapes:
            self._shapes[size] = _shapes_of(self._imagined(size)[0])
        return self._shapes[size]

    def _finish(self) -> None:
        """Drop what the last map does not depend on: the library's head, whatever its name.

        Besides the right count of parameters it keeps unused ones, at which DDP stops, out.
        """
        self.dropped = set()
        maps, weights = self._imagined(self.size)
        self._shapes = {self.size: _shapes_of(maps)}
        met = _behind(maps[-1])
        used = {n.removeprefix("network.") for n, weight in weights.items() if id(weight) in met}
        for name, child in list(self.network.named_children()):
            inside = {*dict(child.named_parameters(prefix=name))}
            if inside and inside.isdisjoint(used):
                setattr(self.network, name, _emptied(child))
                self.dropped.add(name)

    def _imagined(self, size: int) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Maps and parameters without memory or arithmetic, for their shapes and dependence."""
        parameters = {
            name: torch.empty_like(parameter, device="meta").requires_grad_()
            for name, parameter in self.named_parameters()
        }
        buffers = {n: torch.empty_like(b, device="meta") for n, b in self.named_buffers()}
        images = torch.empty(1, 3, size, size, device="meta")
        training = self.training
        try:
            with torch.enable_grad():
                maps = torch.func.functional_call(self.eval(), {**parameters, **buffers}, (images,))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.spec.name} does not take images of {size} pixels ({first_line(error)})"
                f"{self._other_size(size)}"
            ) from error
        finally:
            self.train(training)
        return maps, parameters

    def _other_size(self, size: int) -> str:
        """The way out for somebody whose images are of a size that does not fit."""
        if size == self.size:  # it was built for a size that it cannot take
            return ". Choose another."
        return f"; it was made for {self.size}: set `size`, or `options: {{img_size: {size}}}`."


def build_backbone(name: str, options: Mapping[str, Any] | None = None) -> Backbone:
    """A backbone with random weights, by the name that recipes use.

    Args:
        name: `timm/<architecture>` or `torchvision/<architecture>`.
        options: What else reaches the library's constructor.

    Raises:
        UserError: Family, architecture or option is unknown.
    """
    family, slash, architecture = name.partition("/")
    if not slash:
        raise UserError(f"{name!r} is no backbone: write timm/<name> or torchvision/<name>.")
    try:
        found = catalog.find(
            "medistill.models.backbones",
            family,
            Backbone,  # type: ignore[type-abstract]
        )
    except LookupError as error:
        raise UserError(str(error)) from None
    return found(architecture, dict(options or {}))


def _shapes_of(maps: Iterable[Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(each.shape[1:]) for each in maps)


def _behind(output: Tensor) -> set[int]:
    """Identities of the parameters that an output was computed from, without any backward pass."""
    waiting, met = [output.grad_fn], set()
    leaves = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in met:
            met.add(node)
            leaves.add(id(getattr(node, "variable", None)))
            waiting += [before for before, _ in node.next_functions]
    return leaves


def _emptied(module: nn.Module) -> nn.Module:
    """What stands in for a module that is dropped; a list is gone through, and stays one."""
    return nn.ModuleList() if isinstance(module, nn.ModuleList) else nn.Identity()


def last_of_each_size(outputs: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Of consecutive maps of one height and width, the last; so one map per scale."""
    maps: list[Tensor] = []
    for output in outputs:
        if maps and maps[-1].shape[2:] == output.shape[2:]:
            maps.pop()
        maps.append(output)
    return tuple(maps)


def quarters(depth: int) -> list[int]:
    """The last block of each quarter of a network without stages: 2, 5, 8 and 11 of twelve."""
    return sorted({math.ceil(depth * quarter / 4) - 1 for quarter in range(1, 5)})


def unknown(family: str, architecture: str, names: list[str]) -> UserError:
    """An error that suggests the nearest names."""
    close = get_close_matches(architecture, names, n=3)
    hint = f"Did you mean {', '.join(close)}?" if close else f"Known are {len(names)} names."
    return UserError(f"Unknown {family} backbone {architecture!r}. {hint}")


def check_options(name: str, options: Mapping[str, Any], reserved: set[str]) -> None:
    """Refuse options that decide what is decided elsewhere: weights and head."""
    for option in sorted(reserved & set(options)):
        raise UserError(f"{name}: {option!r} is not one of its options; `weights:` names weights.")


def first_line(error: BaseException) -> str:
    """The first line of what an error says, for an error of ours in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
