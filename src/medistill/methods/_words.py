"""How methods are called, and how they speak to whoever chose them."""

import warnings

from torch import nn

from medistill.errors import Advice
from medistill.methods.base import Method

HEAVY = 20_000_000  # weights beside the student above which a person is told; ResNet18 has 11.2 M


def name_of(method: Method) -> str:
    """The name by which a recipe calls it: that of its file."""
    return type(method).__module__.rpartition(".")[2]


def advise(method: Method, text: str) -> None:
    """Tell a person something about this method; once, from its constructor."""
    warnings.warn(f"{name_of(method)}: {text}", Advice, stacklevel=3)


def advise_if_heavy(method: Method, part: str, network: nn.Module, told: str) -> None:
    """Tell a person of a part with more weights than students have.

    Args:
        method: Whose part it is.
        part: What it is called, with its verb: `generator has`.
        network: Its weights.
        told: What follows their number, and the way out.
    """
    weights = sum(parameter.numel() for parameter in network.parameters())
    if weights > HEAVY:
        advise(method, f"its {part} {weights / 1e6:.1f} M weights{told}")
