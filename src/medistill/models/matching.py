"""Every tensor of an encoder finds its place in a file of weights, or the file is refused."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medistill.errors import UserError

Keys = Callable[[str], str | tuple[str, ...]]
"""From the name of an encoder's tensor to its key in a file, or to those of its parts."""

PREFIXES = (
    *("module.", "_orig_mod.", "model.", "encoder.", "backbone.", "network."),
    *("image_encoder.", "visual.", "trunk."),
)
COUNTER = "num_batches_tracked"  # files from before torch 0.4.1 lack it; nothing depends on it


@dataclass(frozen=True)
class Match:
    """What a file has for an encoder.

    Args:
        found: Keys in the file of each of the encoder's tensors; several where it has parts of it.
        prefix: Of wrappers, before each of these keys.
        unused: All other keys of the file.
        complaints: What keeps it from being the whole encoder.
        total: How many tensors the encoder has.
    """

    found: dict[str, tuple[str, ...]]
    prefix: str
    unused: list[str]
    complaints: list[str]
    total: int

    def complaining(self, more: Iterable[str]) -> "Match":
        """The same with complaints about other keys of the file.

        Where something is missing they are not added: with the wrong names on one side, those on
        the other would count double.
        """
        return self if self.complaints else replace(self, complaints=list(more))

    def tensors(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The file's tensors by the encoder's names, parts of one joined."""
        parts = {name: [state[key] for key in keys] for name, keys in self.found.items()}
        return {n: torch.cat(p) if len(p) > 1 else p[0] for n, p in parts.items()}


def match(
    wanted: Mapping[str, torch.Size],
    state: Mapping[str, Tensor],
    *,
    keys: Keys = str,
    prefixes: Sequence[str] = PREFIXES,
) -> Match:
    """Look for each tensor of an encoder in a file.

    Args:
        wanted: Shape in the file of each of the encoder's tensors, by the encoder's names.
        state: The file's tensors.
        keys: How the file calls them, without the names of wrappers before it.
        prefixes: Names that wrappers put before a key, one or more of them.
    """
    called = {name: _parts(keys(name)) for name in wanted}
    # The prefix is one for all keys: each by itself would mix towers that share names.
    known = {key for parts in called.values() for key in parts}
    prefix = _prefix(known, state, prefixes)
    spelt = {name: tuple(prefix + key for key in parts) for name, parts in called.items()}
    found = {name: parts for name, parts in spelt.items() if state.keys() >= set(parts)}
    used = {key for parts in found.values() for key in parts}
    # Keys are told as the file spells them: that is what its user can look for.
    complaints = [
        *_misshapen(wanted, found, called, state),
        *(f"{key} is not in the file" for key in _absent(called, prefix, state)),
    ]
    return Match(found, prefix, sorted(set(state) - used), complaints, len(wanted))


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Shape of each tensor."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def refused(role: str, match: Match, hint: str) -> UserError:
    """The line that says why nothing was loaded.

    Args:
        role: How it calls the weights.
        match: It has complaints.
        hint: What the file may be instead.
    """
    count = len(match.complaints)
    shown = ", ".join(match.complaints[:3]) + (", ..." if count > 3 else "")
    return UserError(
        f"{role} weights: {count} of {max(match.total, count)} encoder tensors found no place "
        f"({shown}); nothing was loaded. {hint}"
    )


def _misshapen(
    wanted: Mapping[str, torch.Size],
    found: Mapping[str, tuple[str, ...]],
    called: Mapping[str, tuple[str, ...]],
    state: Mapping[str, Tensor],
) -> Iterator[str]:
    """A complaint about each tensor that was found with another shape."""
    for name, parts in found.items():
        shape = _joined([state[key].shape for key in parts])
        if shape != wanted[name]:
            theirs, ours = _told(shape), _told(wanted[name])
            yield f"{' + '.join(called[name])} is {theirs} in the file, not {ours}"


def _prefix(known: Collection[str], state: Mapping[str, Tensor], prefixes: Sequence[str]) -> str:
    """Of the wrappers' names that keys begin with, what leaves the most keys that are known."""
    hits = Counter({"": 0})
    for key in state:
        prefix, rest = "", key
        # Prefixes are tried at every depth, since `model.` may be a wrapper or a part of a name.
        while rest:
            hits[prefix] += rest in known
            step = next((p for p in prefixes if rest.startswith(p)), rest)
            prefix, rest = prefix + step, rest.removeprefix(step)
    # Of equals the shortest: names that are known already need no wrapper.
    return max(hits, key=lambda prefix: (hits[prefix], -len(prefix)))


def _parts(keys: str | tuple[str, ...]) -> tuple[str, ...]:
    return (keys,) if isinstance(keys, str) else keys


def _absent(
    called: Mapping[str, Sequence[str]], prefix: str, state: Mapping[str, Tensor]
) -> Iterator[str]:
    """Of each tensor that is not there whole, the first key that the file lacks."""
    for name, keys in called.items():
        lacking = [key for key in keys if prefix + key not in state]
        if lacking and not name.endswith(COUNTER):
            yield lacking[0]


def _joined(sizes: Sequence[torch.Size]) -> torch.Size:
    """Of tensors that are joined along their first axis; of the first that does not fit."""
    first = sizes[0]
    if strange := [size for size in sizes if not size or size[1:] != first[1:]]:
        return strange[0]
    return torch.Size((sum(size[0] for size in sizes), *first[1:]))


def _told(shape: torch.Size) -> str:
    return "x".join(map(str, shape)) or "a scalar"
