"""What competes: methods of the catalogue, and the variants that a recipe describes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from medistill import catalog
from medistill.assemble import METHODS, method_class, method_name, method_settings
from medistill.documents import with_overrides
from medistill.errors import UserError
from medistill.methods.base import Method
from medistill.recipe import Compare, Recipe, dump, validate
from medistill.report.wording import spoken
from medistill.runs.comparing.grid import ITSELF, Entry, around, override

ALONE = "student_alone"  # what any distillation has to beat: it always competes
APART = "single_task"  # the same of several tasks: a network of its own for each
ALL = "all"  # among the names of methods: every one that fits

Variant = Mapping[str, Any]


def entries(recipe: Recipe, asked: Compare, *, several: bool = False) -> dict[str, Entry]:
    """The reference, the methods, then each variant after what it builds on.

    Args:
        recipe: What all share.
        asked: Names what competes.
        several: Whether each run trains several tasks together.

    Raises:
        UserError: A name or a setting is unknown.
    """
    named = (asked.methods,) if isinstance(asked.methods, str) else asked.methods
    names = _all(recipe, asked, several) if ALL in named else []
    names += [file_of(name) for name in named if name != ALL]
    found = {name: _method(recipe, name, asked) for name in [reference_of(several), *names]}
    _refuse_taken(asked.variants, found)
    for name, said in _in_turn(asked.variants, list(found)):
        found[name] = _variant(recipe, name, said, found, asked.tune)
    return found


def _refuse_taken(variants: Mapping[str, Variant], methods: Mapping[str, Entry]) -> None:
    called = {*methods, *(entry.label for entry in methods.values())}
    if taken := next((name for name in variants if name in called), None):
        raise UserError(f"compare.variants.{taken} is called like a method; rename it.")


def _in_turn(
    variants: Mapping[str, Variant], methods: Sequence[str]
) -> Iterator[tuple[str, Variant]]:
    """Each variant after what it comes after, by the name that this has here."""
    done, waiting = list(methods), dict(variants)
    while waiting:
        after = {name: _after(said, variants) for name, said in waiting.items()}
        ready = [name for name, stage in after.items() if stage in (None, *done)]
        if not ready:
            raise UserError(_why_never(waiting, [*done, *waiting]))
        for name in ready:
            yield name, {**waiting.pop(name), "after": after[name]}
        done += ready


def reference_of(several: bool) -> str:
    """What everything is tested against: the student alone, or a student for each task."""
    return APART if several else ALONE


def file_of(name: str) -> str:
    """Name of a method's file, for any of its names."""
    try:
        return _named(method_of(name))
    except LookupError as error:
        raise UserError(str(error)) from None


def method_of(name: str) -> type[Method]:
    """The class of a method, by any of its names."""
    return catalog.find(METHODS, name, Method)  # type: ignore[type-abstract]


def _named(method: type[Method]) -> str:
    return method.__module__.rpartition(".")[2]


def label(method: type[Method]) -> str:
    """As tables call it: as its paper does, by three letters that people use, or in words."""
    if method.called:
        return method.called
    shortest = min([*method.aliases, _named(method)], key=len)
    return shortest.upper() if len(shortest) <= 3 else spoken(_named(method))


def distils(method: type[Method]) -> bool:
    """Whether by this method a teacher teaches a student one task."""
    wanted = set(catalog.collaborators(method))
    return {"student", "teacher"} <= wanted and ("tasks" not in wanted or method.one_task)


def trains_several(method: type[Method]) -> bool:
    """Whether by this method a student learns several tasks from their labels."""
    wanted = set(catalog.collaborators(method))
    return {"student", "tasks"} <= wanted and not method.one_task


def _all(recipe: Recipe, asked: Compare, several: bool) -> list[str]:
    """Every method by which this teacher can teach this student; the recipe's own comes last.

    A variant that is called like a method takes its place: it is that method, as it is to be.
    """
    own, fits = method_name(recipe), trains_several if several else distils
    names = [
        name
        for name in catalog.available(METHODS)
        if name != own and fits(method_of(name))
        if _taught(recipe, asked) or "teacher" not in catalog.collaborators(method_of(name))
        if not {name, label(method_of(name))} & asked.variants.keys()
    ]
    return [*names, own]


def _taught(recipe: Recipe, asked: Compare) -> bool:
    return recipe.teacher is not None or bool(asked.teachers)


def _tunable(recipe: Recipe) -> str | None:
    """The method's own weight: the first that is not switched off, if there is any."""
    method, settings = method_class(recipe), method_settings(recipe)
    by_custom = ("imitation",) if "imitation" in settings else ()
    known = method.tunable or by_custom
    return next((path for path in known if _setting(settings, path) != 0), None)


def _method(recipe: Recipe, name: str, asked: Compare) -> Entry:
    # The recipe's own method competes with the settings that the recipe gives it.
    own = method_name(recipe) == name
    overrides = [override("method", recipe.method if own else {"name": name})]
    if method_of(name).tunes and not own and _taught(recipe, asked):
        overrides.append(override("student", ITSELF))
    changed = _changed(recipe, overrides, name)
    return _entry(
        recipe, changed, asked.tune, name=name, label=label(method_of(name)), overrides=overrides
    )


def _variant(
    recipe: Recipe, name: str, said: Variant, known: Mapping[str, Entry], tune: int
) -> Entry:
    overrides = [override(key, value) for key, value in said.items() if key != "after"]
    after = said["after"]
    # Its teacher is a run that is not there yet; what is said beside its name holds already.
    taught = [override("teacher.name", f"run:{after}")] if after else []
    changed = _changed(recipe, [*taught, *overrides], name)
    method = method_class(changed)
    # One that goes by its method's name is called as methods are.
    said_as = label(method) if name == _named(method) else name
    if said_as in {entry.label for entry in known.values()}:
        raise UserError(f"compare.variants.{name} is called {said_as}, as another; rename it.")
    found = _entry(
        recipe, changed, tune, name=name, label=said_as, overrides=overrides, after=after
    )
    if after is None:
        return found
    return Entry(**{**vars(found), "asks_teacher": known[after].asks_teacher})


def _entry(
    recipe: Recipe,
    changed: Recipe,
    tune: int,
    *,
    name: str,
    label: str,
    overrides: Sequence[str],
    after: str | None = None,
) -> Entry:
    method = method_class(changed)
    wanted = catalog.collaborators(method)
    itself = changed.student.name == ITSELF
    return Entry(
        name=name,
        label=label,
        method=_named(method),
        overrides=tuple(overrides),
        after=after,
        asks_teacher=itself or "teacher" in wanted,
        makes_student="student" in wanted and changed.student.name == recipe.student.name,
        tunable=_tunable(changed),
        weights=_weights(changed, tune),
    )


def _weights(recipe: Recipe, tune: int) -> tuple[float, ...]:
    """What is tried for a method's own weight; a term that is switched off stays off."""
    path = _tunable(recipe)
    if path is None or tune < 2:
        return ()
    value = _setting(method_settings(recipe), path)
    # Where classes are learnt, nothing stands for 1.
    return around(1.0 if value is None else float(value), tune)


def _setting(settings: Any, path: str) -> Any:
    """The setting at a path of keys and attributes."""
    for key in path.split("."):
        settings = settings[key] if isinstance(settings, Mapping) else getattr(settings, key)
    return settings


def _changed(recipe: Recipe, overrides: Sequence[str], name: str) -> Recipe:
    """The recipe of an entry; what is wrong with it is told with its name."""
    try:
        changed = validate(with_overrides(yaml.safe_load(dump(recipe)), list(overrides)))
        method_settings(changed)
    except UserError as error:
        raise UserError(f"compare, {name}: {error}") from None
    return changed


def _after(said: Variant, variants: Mapping[str, Variant]) -> str | None:
    """What a variant comes after: another variant, or a method by any of its names."""
    after: str | None = said.get("after")
    return file_of(after) if after in _names() - variants.keys() and after is not None else after


def _why_never(waiting: Mapping[str, Variant], known: Sequence[str]) -> str:
    """Why no variant that waits can ever begin."""
    lost = next((name for name, said in waiting.items() if said["after"] not in known), None)
    if lost is None:
        name = next(iter(waiting))
        return (
            f"compare.variants.{name}.after = {waiting[name]['after']!r} leads round in a circle. "
            "Leave one `after` out."
        )
    return (
        f"compare.variants.{lost}.after = {waiting[lost]['after']!r} is neither a method here nor "
        f"a variant. Known: {', '.join(known)}."
    )


def _names() -> set[str]:
    methods = [method_of(name) for name in catalog.available(METHODS)]
    return {name for method in methods for name in (_named(method), *method.aliases)}
