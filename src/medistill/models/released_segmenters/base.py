"""What every released segmenter states: its network, the names in its file, and its terms."""

import re
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from medistill import catalog
from medistill.models.matching import Match, match, shapes
from medistill.models.segmenters.base import Segmenter

RELEASED = "medistill.models.released_segmenters"
_WRAPPERS = ("module.", "model.", "_orig_mod.")

Changes = tuple[tuple[str, str], ...]
"""Regular expressions and what each is replaced by, one after the other."""


class ReleasedSegmenter:
    """A segmenter as its authors released it; a subclass lives alone in its own file.

    The vectors of its queries are no part of its file: they come from a text encoder of its own.

    Attributes:
        aliases: Other names by which it may be called.
        paper: Where it was published.
        licence: Of its weights; None where its authors state none.
        found: Where its authors hand out which file.
        segmenter: Its network, as `build_segmenter` calls it.
        keys: From names of the network's tensors to those in the file.
        twins: From a second name under which its file holds a tensor to the first.
        dropped: Regular expression of keys that nothing here needs.
        regions: Whose expert is at which place, where it has low-rank experts.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str]
    licence: ClassVar[str | None]
    found: ClassVar[str]
    segmenter: ClassVar[str]
    keys: ClassVar[Changes]
    twins: ClassVar[Changes]
    dropped: ClassVar[str]
    regions: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def key(cls, name: str) -> str:
        """What the file calls one of the network's tensors, without the names of wrappers."""
        return _respelt(name, cls.keys)

    @classmethod
    def untwinned(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors, each once and by its first name, whichever of the two it has."""
        named = {key: _respelt(key, cls.twins) for key in state}
        # First names win over second ones: a file that was edited may hold both, unlike.
        second = {named[key]: tensor for key, tensor in state.items()}
        return {**second, **{key: state[key] for key, name in named.items() if key == name}}

    @classmethod
    def match(cls, segmenter: Segmenter, state: Mapping[str, Tensor]) -> Match:
        """Look for all that a network needs but the vectors of its queries.

        Args:
            segmenter: With the shapes that are wanted.
            state: A file's tensors, untwinned.
        """
        wanted = shapes(segmenter.state_dict())
        wanted = {n: shape for n, shape in wanted.items() if n not in segmenter.by_class}
        found = match(wanted, state, keys=cls.key, prefixes=_WRAPPERS)
        strange = (key for key in found.unused if not re.search(cls.dropped, key))
        return found.complaining(f"{key} is unknown" for key in strange)


def releases() -> list[type[ReleasedSegmenter]]:
    """All of them, by their names."""
    names = catalog.available(RELEASED)
    return [catalog.find(RELEASED, name, ReleasedSegmenter) for name in names]


def find_release(name: str) -> type[ReleasedSegmenter] | None:
    """The released segmenter of a name, however it is spelt: `SAT-Nano`, `lorkd_pro`."""
    spelt = re.sub(r"[-/ ]", "_", name.lower())
    try:
        return catalog.find(RELEASED, spelt, ReleasedSegmenter)
    except LookupError:
        return None


def _respelt(name: str, changes: Changes) -> str:
    for pattern, replacement in changes:
        name = re.sub(pattern, replacement, name)
    return name
