"""How methods are called, and how they speak to whoever chose them."""

import warnings

from medistill.errors import Advice
from medistill.methods.base import Method

HEAVY = 20_000_000  # weights beside the student above which a person is told; ResNet18 has 11.2 M


def name_of(method: Method) -> str:
    """The name by which a recipe calls it: that of its file."""
    return type(method).__module__.rpartition(".")[2]


def advise(method: Method, text: str) -> None:
    """Tell a person something about this method; once, from its constructor."""
    warnings.warn(f"{name_of(method)}: {text}", Advice, stacklevel=3)
