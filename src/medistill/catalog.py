"""Find things by the name of their file: the folder is the registry.

A file `attention_transfer.py` holds one public class `AttentionTransfer`, and is imported only when
somebody asks for it. No decorator, no list, no import side effect.
"""

import inspect
import re
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

T = TypeVar("T")


def available(package: str) -> list[str]:
    """Names of the modules of a package, without its base and private ones."""
    path = import_module(package).__path__
    names = (module.name for module in iter_modules(path))
    return sorted(name for name in names if name != "base" and not name.startswith("_"))


def find(package: str, name: str, base: type[T]) -> type[T]:
    """The one subclass of `base` that the module `name` of a package defines.

    Args:
        package: Dotted name of the folder to look in.
        name: Name of a file there, or one of the `aliases` that its class declares, however it is
            spelt: `SemCKD`, `VPT-deep`.
        base: What the class must derive from.

    Raises:
        LookupError: No file and no alias has this name; the nearest is suggested.
    """
    spelt = re.sub(r"[-/ ]", "_", name.strip().lower())
    if spelt in available(package):
        return _public_class(package, spelt, base)
    others = {
        alias: found
        for found in (_public_class(package, other, base) for other in available(package))
        for alias in getattr(found, "aliases", ())
    }
    if spelt in others:
        return others[spelt]
    raise LookupError(_unknown(package, name, base, get_close_matches(spelt, others, n=1)))


def settings(thing: type) -> dict[str, inspect.Parameter]:
    """What a recipe may set: the keyword-only parameters of a constructor."""
    return {p.name: p for p in _parameters(thing) if p.kind is p.KEYWORD_ONLY}


def collaborators(thing: type) -> list[str]:
    """What a recipe's assembly offers: the positional parameters of a constructor, in order."""
    return [p.name for p in _parameters(thing) if p.kind is p.POSITIONAL_OR_KEYWORD]


def first_line(thing: type) -> str:
    """The first thought of a docstring: what `medistill list` prints."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _parameters(thing: type) -> list[inspect.Parameter]:
    return list(inspect.signature(thing).parameters.values())


def _public_class(package: str, name: str, base: type[T]) -> type[T]:
    module = import_module(f"{package}.{name}")
    (found,) = (
        value
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    )
    return found


def _unknown(package: str, name: str, base: type, aliases: list[str]) -> str:
    names = available(package)
    close = get_close_matches(name.lower(), names, n=1) or aliases
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"Unknown {base.__name__.lower()} {name!r}.{hint} Available: {', '.join(names)}."
