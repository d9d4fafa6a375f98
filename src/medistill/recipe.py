"""One YAML file <-> one validated object.

The constructors are the schema: a method's settings, and those of the augmentation, are the
keyword-only parameters of their classes, so that nothing has to be written down twice.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from medistill.catalog import settings
from medistill.documents import Document, parse_yaml, with_overrides
from medistill.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]


class Section(BaseModel):
    """A part of a recipe; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Root(Section):
    """One folder of images: one task."""

    root: Path
    layout: str = "auto"
    task: str | None = None  # the rows of a manifest that has a `task` column
    patient_pattern: str | None = None
    region: str | None = None


class Splitting(Section):
    """How images without an official split are divided."""

    seed: int = 0
    test: float = Field(default=0.2, gt=0, lt=1)
    validation: float = Field(default=0.15, gt=0, lt=1)


class Data(Section):
    """The images, and how they reach the networks."""

    roots: dict[str, Root]
    size: int = Field(default=224, ge=8)
    views: int = Field(default=8, ge=1)
    view_seed: int = 0  # apart from training.seed, so that seeds share a teacher's cache
    augmentation: dict[str, Any] = {}
    sampling: Literal["plain", "balanced"] = "plain"
    split: Splitting = Splitting()
    skip_unreadable: bool = False
    store: Path = Path("~/.cache/medistill")

    @model_validator(mode="before")
    @classmethod
    def _roots_by_name(cls, given: Any) -> Any:
        return _named_roots(given) if isinstance(given, dict) else given


class TeacherSource(Section):
    """The foundation model: a library's network, a finished run, or a file of features."""

    name: str
    weights: str | None = None
    options: dict[str, Any] = {}
    mean: float | tuple[float, float, float] | None = None
    std: float | tuple[float, float, float] | None = None
    size: int | None = Field(default=None, ge=8)
    grid: int | None = Field(default=None, ge=1)  # side of the pooled maps; 1: pooled vectors only
    cache: bool = True
    licence: str | None = None


class StudentSource(Section):
    """The small network, and where its weights start."""

    name: str = "torchvision/resnet18"
    weights: str = "random"
    start: str | None = None  # run:FOLDER
    options: dict[str, Any] = {}


class Training(Section):
    """The schedule; the defaults are those of the RD paper."""

    epochs: int = Field(default=240, ge=1)
    batch_size: int = Field(default=32, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=5e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = Field(default=0.0, ge=0)  # epochs
    gradient_clip: float | None = Field(default=None, gt=0)
    class_weights: bool = False
    precision: Precision = "fp32"
    device: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    seed: int = 0
    select: str = "balanced_accuracy"
    validate_every: int = Field(default=1, ge=1)


class Evaluation(Section):
    """How a finished student is judged."""

    sensitivity: float = Field(default=0.95, gt=0, le=1)
    positive: str | None = None  # the class whose threshold is sought; the last by default
    draws: int = Field(default=1000, ge=0)


class Recipe(Section):
    """Everything that decides a run."""

    data: Data
    teacher: TeacherSource | None = None
    student: StudentSource = StudentSource()
    method: dict[str, Any] = {"name": "reprogramming_distillation"}
    training: Training = Training()
    evaluation: Evaluation = Evaluation()


def read_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe in a YAML file, with `section.key=value` overrides applied.

    Raises:
        UserError: The file is missing, is no YAML, or says something unknown.
    """
    if not path.is_file():
        raise UserError(f"No recipe at {path} (looked for {path.resolve()}).")
    document = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no recipe: expected sections such as data: and method:.")
    return validate(with_overrides(document, overrides or []))


def validate(document: Document) -> Recipe:
    """The recipe that a parsed document means; see `read_recipe` for the errors."""
    if isinstance(document.get("method"), str):
        document = {**document, "method": {"name": document["method"]}}
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise UserError(f"recipe: {_explain(error, Recipe)}") from None


def dump(recipe: Recipe) -> str:
    """The YAML text of a recipe, every default written out."""
    document = recipe.model_dump(mode="json")
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def checked_settings(thing: type, given: Mapping[str, Any], where: str) -> Document:
    """The settings of a constructor, typed and completed with its defaults.

    Args:
        thing: A class whose keyword-only parameters are its settings.
        given: What the recipe says.
        where: How an error calls the place.

    Raises:
        UserError: A setting is unknown or has the wrong type.
    """
    fields: dict[str, Any] = {
        name: (parameter.annotation, parameter.default)
        for name, parameter in settings(thing).items()
    }
    model = create_model("Settings", __config__=ConfigDict(extra="forbid"), **fields)
    try:
        valid = model.model_validate(dict(given))
    except ValidationError as error:
        raise UserError(f"{where}.{_explain(error, model)}") from None
    return {name: getattr(valid, name) for name in fields}


def _named_roots(given: Document) -> Document:
    """`root: X`, `roots: [X, Y]` and `roots: {a: X}` all become `roots: {a: {root: X}}`."""
    given = dict(given)
    single = {key: given.pop(key) for key in ("root", "name", *_ROOT_KEYS) if key in given}
    if "root" in single:
        roots: Any = [*_as_list(given.pop("roots", [])), single]
        shared: Document = {}
    else:
        roots, shared = given.get("roots", {}), single
    if isinstance(roots, dict):
        roots = [{"name": name, **_as_root(root)} for name, root in roots.items()]
    named = [_with_name({**shared, **_as_root(root)}) for root in roots]
    given["roots"] = dict(named)
    if len(given["roots"]) < len(named):
        raise UserError("recipe: two roots in data.roots have the same name; give each a `name`.")
    return given


_ROOT_KEYS = ("layout", "task", "patient_pattern", "region")


def _as_list(roots: Any) -> list[Any]:
    return (
        [{"name": k, **_as_root(v)} for k, v in roots.items()] if isinstance(roots, dict) else roots
    )


def _as_root(root: Any) -> Document:
    return dict(root) if isinstance(root, dict) else {"root": root}


def _with_name(root: Document) -> tuple[str, Document]:
    name = root.pop("name", None) or Path(str(root.get("root", "data"))).resolve().name
    return str(name).replace("/", "_"), root


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first error, in one line, with the nearest known key."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown(place, first, model)
    if first["type"] == "missing":
        return f"{place} is missing."
    return f"{place} = {first['input']!r}: {first['msg']}."


def _unknown(place: str, error: ErrorDetails, model: type[BaseModel]) -> str:
    known = _fields_at(model, error["loc"][:-1])
    close = get_close_matches(str(error["loc"][-1]), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{place} is unknown.{hint} Known: {', '.join(known) or 'none'}."


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the section that a path leads to."""
    for part in path:
        field = model.model_fields.get(str(part))
        inner = _section(field) if field else None
        model = inner or model
    return list(model.model_fields)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
    sections = (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return next(sections, None)
