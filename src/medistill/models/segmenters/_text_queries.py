"""What a class is called becomes a vector: from a file, by rule, or learned."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.state_files import read_state


class Queries(nn.Module):
    """One vector for each class, brought to the length that the network works with.

    Args:
        vectors: Of each class of the vocabulary.
        hidden: The length that is wanted; another one of the vectors is brought to it by a Linear.
        learned: Whether training changes the vectors.
    """

    vectors: Tensor

    def __init__(
        self, vectors: Float[Tensor, "classes length"], hidden: int, *, learned: bool
    ) -> None:
        super().__init__()
        # With the state: a deployed network needs neither the file nor a text encoder.
        if learned:
            self.vectors = nn.Parameter(vectors)
        else:
            self.register_buffer("vectors", vectors)
        length = vectors.shape[1]
        self.project = nn.Identity() if length == hidden else nn.Linear(length, hidden)

    def forward(self, queries: Int[Tensor, "batch queries"]) -> Float[Tensor, "batch queries n"]:
        """The vectors of the classes that are asked for."""
        projected: Tensor = self.project(self.vectors[queries])
        return projected


def read_vectors(path: Path, vocabulary: Sequence[str]) -> Float[Tensor, "classes length"]:
    """Vectors of class names out of a safetensors file that holds one under each name.

    Raises:
        UserError: No such file, a class without a vector, or vectors of several lengths.
    """
    found = read_state(path, role="text queries")
    known = {name.casefold(): vector for name, vector in found.items()}
    if missing := [name for name in vocabulary if name.casefold() not in known]:
        raise UserError(
            f"queries: {path} has no vector for {', '.join(map(repr, missing[:3]))}"
            f"{', ...' if len(missing) > 3 else ''} (of {len(known)} names); add it, or leave "
            "`queries` out for fixed ones."
        )
    vectors = [known[name.casefold()].flatten() for name in vocabulary]
    if len({len(vector) for vector in vectors}) > 1:
        raise UserError(f"queries: the vectors in {path} are not of one length.")
    # Text encoders hand out halves too, which the network would not multiply with its weights.
    return torch.stack(vectors).float()


def fixed_vectors(vocabulary: Sequence[str], length: int) -> Float[Tensor, "classes length"]:
    """Orthogonal vectors of mean 0 and variance 1, chosen by the classes' names.

    They are cosines of whole frequencies, as in the discrete cosine transform. A name's digest says
    which; where two of a vocabulary ask for one, the later in the order of digests takes the next
    that is free. So networks agree on a class but for that case, whatever else they know.

    Raises:
        UserError: More classes than there are such vectors.
    """
    if len(vocabulary) >= length:
        raise UserError(
            f"{len(vocabulary)} classes are too many for fixed queries of length {length}: name a "
            "file with `queries`, or set `hidden` higher."
        )
    # The constant, frequency 0, is left out: a norm of a layer makes nothing of it.
    frequency = _places(vocabulary, length - 1)
    turns = np.array([1 + frequency[name] for name in vocabulary])[:, None]
    angles = np.pi / length * (np.arange(length) + 0.5) * turns
    return torch.from_numpy(math.sqrt(2) * np.cos(angles)).float()


def _places(names: Sequence[str], count: int) -> dict[str, int]:
    digests = {n: int.from_bytes(hashlib.sha256(n.casefold().encode()).digest()) for n in names}
    taken: dict[int, str] = {}
    for name in sorted(digests, key=digests.__getitem__):
        place = digests[name] % count
        while place in taken:
            place = (place + 1) % count
        taken[place] = name
    return {name: place for place, name in taken.items()}
