"""One YAML file <-> one validated object.

The constructors are the schema: a method's settings, and those of the augmentation, are the
keyword-only parameters of their classes, so that nothing has to be written down twice.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator
from pydantic_core import ErrorDetails

from medistill.catalog import settings
from medistill.documents import Document, named_roots, parse_yaml, with_overrides
from medistill.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]
Spacing = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=1)]
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")  # of models, and of dataclasses


class Section(BaseModel):
    """A part of a recipe; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Root(Section):
    """One folder of images, or of volumes: one task."""

    root: Path
    layout: str = "auto"
    task: str | None = None  # the rows of a manifest that has a `task` column
    patient_pattern: str | None = None
    region: str | None = None  # of the body; its own name by default
    modality: Literal["ct", "mr"] | None = None  # of volumes whose layout does not tell


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
    task_sampling: Literal["proportional", "square_root", "balanced"] = "proportional"
    split: Splitting = Splitting()
    fraction: float = Field(default=1.0, gt=0, le=1)  # of the training images
    skip_unreadable: bool = False
    spacing_mm: tuple[Spacing, Spacing, Spacing] | None = None  # from here on of volumes alone
    patch: tuple[Side, Side, Side] | None = None
    foreground: float = Field(default=0.67, ge=0, le=1)
    mixing: Literal["mixed", "region"] = "mixed"
    steps: int = Field(default=100, ge=1)
    patches: int | None = Field(default=None, ge=1)  # of each volume; without end by default
    store: Path = Path("~/.cache/medistill")

    @model_validator(mode="before")
    @classmethod
    def _roots_by_name(cls, given: Any) -> Any:
        return named_roots(given) if isinstance(given, dict) else given


class TeacherSource(Section):
    """The foundation model: a library's network, a finished run, or a file of features."""

    name: str
    weights: str | None = None
    options: dict[str, Any] = {}
    mean: float | tuple[float, float, float] | None = None
    std: float | tuple[float, float, float] | None = None
    stretch: bool | None = None  # each image to [0, 1], before that
    size: int | None = Field(default=None, ge=8)
    grid: int | None = Field(default=None, ge=1)  # side of the pooled maps; 1: pooled vectors only
    cache: bool = True
    licence: str | None = None


class StudentSource(Section):
    """The small network, and where its weights start."""

    name: str = "torchvision/resnet18"
    weights: str = "random"
    start: str | None = None  # run:FOLDER
    task: str | None = None  # of that run: a task, a region's expert, or `shared`
    options: dict[str, Any] = {}
    mean: float | tuple[float, float, float] | None = None
    std: float | tuple[float, float, float] | None = None
    stretch: bool | None = None
    size: int | None = Field(default=None, ge=8)  # it shrinks the images, the teacher need not
    licence: str | None = None


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
    positive: str | None = None  # whose threshold is sought; of two, the finding
    draws: int = Field(default=1000, ge=0)
    tolerance_mm: float = Field(default=1.0, gt=0)  # of surfaces, in volumes


class Compare(Section):
    """Which ways of making a student are tried, on what: `medistill compare` runs them all.

    What is left out is the recipe's own.
    """

    data: dict[str, Any] = {}
    teachers: dict[str, Any] = {}
    students: dict[str, Any] = {}
    starts: tuple[str | None, ...] = ()
    methods: Literal["all"] | tuple[str, ...] = "all"
    variants: dict[str, dict[str, Any]] = {}
    pretrained: dict[str, Any] = {}
    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    tune: int = Field(default=1, ge=1)
    metric: str | None = None  # accuracy, or dice of volumes


class Recipe(Section):
    """Everything that decides a run, and the block that decides a comparison of runs."""

    data: Data
    teacher: TeacherSource | None = None
    student: StudentSource = StudentSource()
    method: dict[str, Any] = {"name": "reprogramming_distillation"}
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    compare: Compare | None = None


def read_recipe(path: Path | str, overrides: list[str] | None = None) -> Recipe:
    """The recipe in a YAML file, with `section.key=value` overrides applied.

    Raises:
        UserError: The file is missing, is no YAML, or says something unknown.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"No recipe at {path} (looked for {path.resolve()}).")
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text; a recipe is a YAML file.") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no recipe: expected sections such as data: and method:.")
    return validate(with_overrides(document, overrides or []))


def validate(document: Document) -> Recipe:
    """The recipe that a parsed document means; see `read_recipe` for the errors."""
    # A section with nothing below it is as one that is left out.
    document = {key: _as_section(key, v) for key, v in document.items() if v is not None}
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
    known: dict[str, Any] = {
        name: (parameter.annotation, parameter.default)
        for name, parameter in settings(thing).items()
    }
    model = create_model("Settings", __config__=ConfigDict(extra="forbid"), **known)
    try:
        valid = model.model_validate(dict(given))
    except ValidationError as error:
        raise UserError(f"{where}.{_explain(error, model)}") from None
    return {name: getattr(valid, name) for name in known}


def _as_section(key: str, value: Any) -> Any:
    """`method: rd`, and likewise for teacher and student, is short for `method: {name: rd}`."""
    named = key in ("teacher", "student", "method") and isinstance(value, str)
    return {"name": value} if named else value


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first error, in one line, with the nearest known key."""
    # What is unknown before what is missing: the one is often the other, misspelt.
    first = min(error.errors(include_url=False), key=lambda e: e["type"] not in UNKNOWN)
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] in UNKNOWN:
        return _unknown(place, first, model)
    if first["type"] == "missing":
        return f"{place} is missing."
    return f"{place} = {first['input']!r}: {first['msg']}."


def _unknown(place: str, error: ErrorDetails, model: type[BaseModel]) -> str:
    known = list(_fields(_section_at(model, error["loc"][:-1])))
    close = get_close_matches(str(error["loc"][-1]), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{place} is unknown.{hint} Known: {', '.join(known) or 'none'}."


def _section_at(section: Any, path: tuple[int | str, ...]) -> Any:
    """The model or the dataclass that a path leads to."""
    for part in path:
        field = _fields(section).get(str(part))
        kinds = [
            field,
            *get_args(field),
        ]  # itself, or the one inside `dict[str, ...]`, `... | None`
        section = next((kind for kind in kinds if _fields(kind)), section)
    return section


def _fields(section: Any) -> dict[str, Any]:
    """Names and types of the fields of a model or a dataclass; none of anything else."""
    if isinstance(section, type) and issubclass(section, BaseModel):
        return {name: field.annotation for name, field in section.model_fields.items()}
    if isinstance(section, type) and is_dataclass(section):
        return {field.name: field.type for field in fields(section)}
    return {}
