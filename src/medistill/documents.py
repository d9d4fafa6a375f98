"""YAML text -> plain documents: read strictly, and overridden by one syntax."""

import re
from copy import deepcopy
from typing import Any

import yaml

from medistill.errors import UserError

Document = dict[str, Any]


def with_overrides(document: Document, overrides: list[str]) -> Document:
    """A copy with each `a.b=value` set; values are YAML.

    Setting `method.name` leaves the other method's settings behind: they are not its own.
    """
    changed = deepcopy(document)
    for override in sorted(overrides, key=lambda text: not text.startswith("method.name=")):
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise UserError(f"--set {override!r}: write it as section.key=value.")
        value = parse_yaml(text, f"--set {path}")
        if path == "method.name":
            changed["method"] = _renamed(changed.get("method", {}), value)
        _place(changed, path.split("."), value)
    return changed


def parse_yaml(text: str, where: str) -> Any:
    """YAML in which `5e-3` is a number and a repeated key is an error."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise UserError(f"{where}{line}: not valid YAML ({reason}).") from None


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `5e-3` as text, and silently keeps the last of two equal keys."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.MarkedYAMLError(problem=f"{key!r} twice", problem_mark=node.start_mark)
    return loader.construct_mapping(node, deep=True)


def _exponent(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("!exponent", _exponent)
_Loader.add_implicit_resolver(
    "!exponent", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _renamed(method: Any, name: Any) -> Document:
    if isinstance(method, dict) and method.get("name") == name:
        return method
    return {"name": name}


def _place(document: Document, path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = document.setdefault(key, {})
        if isinstance(inner, str):  # `method: rd` is short for `method: {name: rd}`
            inner = document[key] = {"name": inner}
        if not isinstance(inner, dict):
            raise UserError(f"--set {'.'.join(path)}: {key} is not a section.")
        document = inner
    document[path[-1]] = value
