"""What every released foundation model states: its file, its network, its input and its terms."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from medistill import catalog
from medistill.models.backbones.base import Backbone, build_backbone
from medistill.models.matching import PREFIXES, Keys, Match, match, shapes
from medistill.models.positions import fitted

Three = tuple[float, float, float]
CHECKPOINTS = "medistill.models.checkpoints"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
MINUS_ONE_TO_ONE = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Edition:
    """One of the forms in which a released model's tensors are handed out.

    Networks here are shown red, green and blue. One that was trained on blue, green and red, or on
    grey alone, becomes such a network in its first convolution: the weights are turned round, or
    shared among three channels. Both are exact, where grey means the mean of the three, and need no
    place of their own in what is deployed.

    Args:
        backbone: The network that they belong to, as `build_backbone` calls it.
        telltale: Regular expression that a key of such a file matches, and none of the other
            editions does.
        normalisation: Mean and std of each channel of images in [0, 1], red first.
        stretch: Whether each image was stretched to [0, 1] before that.
        keys: From the name of one of the network's tensors to its key in the file.
        options: Of the network.
        channels: What the network was shown.
        positions: Side of the images that its tables of positions are made for; None without any.
        own: Whether its keys are no other model's, so that a file is recognised by them.
    """

    backbone: str
    telltale: str
    normalisation: tuple[Three, Three] = IMAGENET
    stretch: bool = False
    keys: Keys = str
    options: Mapping[str, Any] = field(default_factory=dict)
    channels: Literal["rgb", "bgr", "grey"] = "rgb"
    positions: int | None = None
    own: bool = True

    def network(self, size: int, options: Mapping[str, Any] | None = None) -> Backbone:
        """The network with random weights, its normalisation and, where that matters, its size."""
        sized = {"img_size": size} if self.positions else {}
        backbone = build_backbone(self.backbone, {**self.options, **sized, **(options or {})})
        backbone.mean, backbone.std = self.normalisation
        backbone.stretch, backbone.size = self.stretch, size
        return backbone

    def released(self, options: Mapping[str, Any] | None = None) -> Backbone:
        """The network of its file's own shapes, on the meta device."""
        with torch.device("meta"):
            return self.network(self.positions or 224, options)

    def match(
        self, released: Backbone, state: Mapping[str, Tensor], prefixes: Sequence[str]
    ) -> Match:
        """Look in a file for the network as it was released; see `matching.match`."""
        stored = shapes(released.network.state_dict())
        if self.channels == "grey":
            first = _first_convolution(stored)
            stored[first] = torch.Size((stored[first][0], 1, *stored[first][2:]))
        return match(stored, state, keys=self.keys, prefixes=prefixes)

    def place(self, tensors: dict[str, Tensor], backbone: Backbone) -> None:
        """Put the file's tensors, of one of our matches, into such a network.

        Args:
            tensors: By the network's names; float of any precision.
            backbone: May lie on the meta device; it takes the tensors over as they are.
        """
        wanted = backbone.network.state_dict()
        first = _first_convolution(shapes(wanted))

        def made(name: str, like: Tensor) -> Tensor:
            if name not in tensors:  # a counter of batches
                return torch.zeros(like.shape, dtype=like.dtype)
            # A copy, for a file that is mapped into memory may change.
            tensor = tensors[name].to(like.dtype, copy=True)
            if name == first:
                tensor = _shown_rgb(tensor, self.channels)
            return tensor if tensor.shape == like.shape else fitted(tensor, like.shape)

        placed = {name: made(name, like) for name, like in wanted.items()}
        backbone.network.load_state_dict(placed, assign=True)


class Checkpoint:
    """A foundation model as its authors released it; a subclass lives alone in its own file.

    Attributes:
        aliases: Other names by which a recipe may call it.
        paper: Where it was published: authors, title, venue and year.
        licence: Of its weights, which a student inherits; None where its authors state none.
        found: Where its authors hand out which file.
        size: Side of the images that it is shown, unless a recipe says otherwise.
        editions: Forms of its file, the authors' own first.
        dropped: Regular expression of keys that belong to no encoder of images.
        wrappers: Names before its keys, beside the usual ones.
        classes: Outputs of its classifier, where that tells its file from another of the same keys;
            None where it may have any.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str]
    licence: ClassVar[str | None]
    found: ClassVar[str]
    size: ClassVar[int] = 224
    editions: ClassVar[tuple[Edition, ...]]
    dropped: ClassVar[str] = r"(^|\.)(fc|classifier|head)\."
    wrappers: ClassVar[tuple[str, ...]] = ()
    classes: ClassVar[int | None] = None

    @classmethod
    def edition_of(cls, keys: Iterable[str]) -> Edition:
        """The form of a file, by its keys; the authors' own where they tell nothing."""
        text = "\n".join(keys)
        told = (e for e in cls.editions if re.search(e.telltale, text, re.MULTILINE))
        return next(told, cls.editions[0])

    @classmethod
    def match(cls, edition: Edition, released: Backbone, state: Mapping[str, Tensor]) -> Match:
        """What a file has for the encoder; a key that is neither its own nor known is told."""
        found = edition.match(released, state, (*PREFIXES, *cls.wrappers))
        strange = (key for key in found.unused if not re.search(cls.dropped, key))
        complaints = [f"{key} is unknown" for key in strange]
        return found.complaining([*complaints, *cls._foreign(found.unused, state)])

    @classmethod
    def _foreign(cls, unused: Iterable[str], state: Mapping[str, Tensor]) -> Iterator[str]:
        """A complaint about each classifier of another model."""
        heads = (key for key in unused if re.search(r"(^|\.)classifier\.", key))
        for key in heads if cls.classes else ():
            if state[key].shape[:1] != (cls.classes,):
                yield f"{key} is for {len(state[key])} classes, not {cls.classes}"


def find_checkpoint(name: str) -> type[Checkpoint] | None:
    """The released model of a name, however it is spelt: `PMC-CLIP`, `radimagenet/resnet50`."""
    try:
        return catalog.find(CHECKPOINTS, name, Checkpoint)
    except LookupError:
        return None


def numbered(*children: str) -> Keys:
    """Keys of a network that was copied into a `Sequential`, child by child.

    Args:
        children: Names of all its children in their order; those without tensors count too.
    """
    places = {child: str(place) for place, child in enumerate(children)}

    def key(name: str) -> str:
        child, _, rest = name.partition(".")
        return f"{places[child]}.{rest}"

    return key


def respelt(*changes: tuple[str, str]) -> Callable[[str], str]:
    """Keys in which regular expressions are replaced, one after the other."""

    def key(name: str) -> str:
        for pattern, replacement in changes:
            name = re.sub(pattern, replacement, name)
        return name

    return key


def _first_convolution(stored: Mapping[str, torch.Size]) -> str:
    return next(name for name, shape in stored.items() if len(shape) == 4 and "pos" not in name)


def _shown_rgb(weight: Tensor, channels: str) -> Tensor:
    """The first convolution of a network that is shown red, green and blue."""
    if channels == "bgr":
        return weight.flip(1)
    if channels == "grey":
        return (weight / 3).repeat(1, 3, 1, 1)
    return weight
