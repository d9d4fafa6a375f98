"""YAML text -> plain documents: read strictly, and overridden by one syntax."""

import re
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from medistill.errors import UserError

Document = dict[str, Any]
ROOT_KEYS = ("layout", "task", "patient_pattern", "region", "modality")
_METHOD = ("method", "method.name")
_REPLACING = (*_METHOD, "data.root")


def with_overrides(document: Document, overrides: list[str]) -> Document:
    """A copy with each `a.b=value` set; values are YAML.

    Setting `method` or `method.name` leaves the other method's settings behind: they are not its
    own. Setting `data.root` replaces all roots; what a lone root says of itself, such as its
    pattern of patients, stays.
    """
    changed = deepcopy(document)
    # What replaces others comes first, whatever the order: their settings may stand before it.
    for override in sorted(overrides, key=lambda text: text.partition("=")[0] not in _REPLACING):
        path, value = _parsed(override)
        if path in _METHOD and isinstance(value, str):
            changed["method"] = _renamed(changed.get("method"), value)
        elif path == "data.root":
            changed["data"] = _rooted(changed.get("data"), value)
        else:
            _place(changed, path.split("."), value)
    return changed


def named_roots(data: Document) -> Document:
    """`root: X`, `roots: [X, Y]` and `roots: {a: X}` all become `roots: {a: {root: X}}`.

    What is said of a root beside `roots` holds for each of them.
    """
    rest = dict(data)
    shared = {key: rest.pop(key) for key in ("root", "name", *ROOT_KEYS) if key in rest}
    roots = _as_list(rest.pop("roots", None))
    if "root" in shared:
        roots, shared = [*roots, shared], {}
    return {**rest, "roots": _by_name({**shared, **root} for root in roots)}


def parse_yaml(text: str, where: str) -> Any:
    """YAML in which `5e-3` is a number and a repeated key is an error."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
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


def _parsed(override: str) -> tuple[str, Any]:
    """Path and value of `a.b=value`."""
    path, equals, text = override.partition("=")
    if not equals or not all(path.split(".")):
        raise UserError(f"--set {override!r}: write it as section.key=value.")
    return path, parse_yaml(text, f"--set {path}")


def _renamed(method: Any, name: str) -> Document:
    if isinstance(method, dict) and method.get("name") == name:
        return method
    return {"name": name}


def _rooted(data: Any, root: Any) -> Document:
    rest = dict(data) if isinstance(data, dict) else {}
    roots = rest.pop("roots", None) or []
    known = list(roots.values() if isinstance(roots, dict) else roots)
    lone = known[0] if len(known) == 1 and isinstance(known[0], dict) else {}
    changed = {**lone, **rest, "root": root}
    changed.pop("name", None)  # it told which images these were, and they are others now
    return changed


def _place(document: Document, path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = document.setdefault(key, {})
        if isinstance(inner, str):  # `method: rd` is short for `method: {name: rd}`
            inner = document[key] = {"name": inner}
        if inner is None:  # `data:` with nothing below it
            inner = document[key] = {}
        if not isinstance(inner, dict):
            raise UserError(f"--set {'.'.join(path)}: {key} is not a section.")
        document = inner
    document[path[-1]] = value


def _as_list(roots: Any) -> list[Document]:
    if roots is None:
        return []
    if isinstance(roots, dict):
        return [{"name": name, **_as_root(root)} for name, root in roots.items()]
    if isinstance(roots, list):
        return [_as_root(root) for root in roots]
    raise UserError(f"recipe: data.roots = {roots!r}: write a list of folders, or names and them.")


def _by_name(roots: Iterable[Document]) -> dict[str, Document]:
    named = [_with_name(root) for root in roots]
    if not named:
        raise UserError("recipe: data.root is missing: name a folder of images.")
    found = dict(named)
    if len(found) < len(named):
        raise UserError("recipe: two roots in data.roots have the same name; give each a `name`.")
    return found


def _as_root(root: Any) -> Document:
    return dict(root) if isinstance(root, dict) else {"root": root}


def _with_name(root: Document) -> tuple[str, Document]:
    if root.get("root") is None:
        root.pop("root", None)  # so that it is missing, and not of a wrong type
    elif isinstance(root["root"], int):  # a folder may be called 2024
        root["root"] = str(root["root"])
    name = str(root.pop("name", None) or _folder_name(Path(str(root.get("root", "data")))))
    # It becomes the name of a folder in the run.
    return re.sub(r"[/\\]", "_", name).strip(".") or "data", root


def _folder_name(root: Path) -> str:
    """A root's folder; of a file the folder that it lies in, but an array file's own name."""
    root = root.resolve()
    if root.suffix == ".npz":
        return root.stem
    return root.parent.name if root.suffix == ".csv" else root.name
