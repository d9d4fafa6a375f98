"""What a way to arrange images on disk must say about them."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from medistill import catalog
from medistill.data.formats import holds_volumes, is_clutter, is_volume, read_image
from medistill.data.picture import Picture
from medistill.errors import UserError

_PACKAGE = "medistill.data.layouts"
SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Sample:
    """One image of a data set, before it is read.

    Args:
        source: Its path relative to the root, with `/`; `file.npz#train/12` inside an array file.
        label: Name of its class; None when it has none.
        split: The official split it belongs to; None when there is none.
        patient: Whom it shows; None when not known.
    """

    source: str
    label: str | None = None
    split: str | None = None
    patient: str | None = None


class Layout(ABC):
    """A way to arrange labelled images under a root.

    Args:
        root: A folder, or the one file that describes the data.
        task: Which of several tasks to read; only a manifest can list several.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    rank: ClassVar[int]
    """Layouts are asked in this order whether they recognise a root."""

    def __init__(self, root: Path, *, task: str | None = None) -> None:
        if task is not None:
            raise UserError(f"{root}: task {task!r} needs a manifest with a column `task`")
        self.root = root

    @classmethod
    @abstractmethod
    def recognises(cls, root: Path) -> bool:
        """Whether the root looks like this layout."""

    @abstractmethod
    def samples(self) -> list[Sample]:
        """Every image with what is known of it, in an order that the disk has no part in."""

    def read(self, sample: Sample) -> Picture:
        """The image of one sample, decoded."""
        return read_image(self.root / sample.source)

    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the targets: numbers by value, words by letters."""
        labels = {sample.label for sample in self.samples() if sample.label is not None}
        if all(label.isdecimal() for label in labels):
            return tuple(sorted(labels, key=int))
        return tuple(sorted(labels))


def open_root(root: Path, name: str = "auto", task: str | None = None) -> Layout:
    """The layout of a root, recognised by looking or named.

    Args:
        root: A folder, or the one file (`.csv`, `.npz`) that describes the data.
        name: A layout of the catalogue; `auto` takes the first that recognises the root.
        task: Which task of a manifest to read, where it lists several.

    Raises:
        UserError: The root is missing, or nothing fits it.
    """
    if not root.exists():
        raise UserError(f"data root '{root}' does not exist (looked at {root.resolve()})")
    found = _recognised(root) if name == "auto" else _named(name)
    return found(root, task=task)


def official_split(name: str) -> str | None:
    """The split that a folder or a table calls by this name, in any case; None if it is none."""
    return _SPLIT_NAMES.get(name.strip().casefold())


def split_in_cell(told: str, where: str) -> str | None:
    """The split that a table says for a row; None where its cell is empty.

    Raises:
        UserError: The cell names none.
    """
    split = official_split(told)
    if told and split is None:
        raise UserError(f"{where}: split {told!r} is none of {', '.join(SPLITS)}")
    return split


def check_task(task: str | None, listed: Iterable[str], where: Path, kind: str) -> None:
    """Refuse to choose among several tasks for a person, and one that is not there.

    Args:
        task: What was asked for, if anything was.
        listed: That of every row; empty where a row says none.
        where: The file or folder with the rows.
        kind: What it calls its tasks.

    Raises:
        UserError: One of several must be named, or the one that was named is not listed.
    """
    tasks = sorted(set(listed))
    told = ", ".join(filter(None, tasks)) or "none"
    if task is None and len(tasks) > 1:
        raise UserError(f"{where}: lists several {kind}s ({told}); name one as `task`")
    if task not in (None, *tasks):
        raise UserError(f"{where}: no {kind} {task!r}; it lists {told}")


def first_few(names: Sequence[str]) -> str:
    """Three of many names, and a sign that there are more."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def with_patients(samples: Sequence[Sample], pattern: str) -> list[Sample]:
    """The samples with patients read off their paths, where none is known yet.

    Args:
        samples: Any samples.
        pattern: Regular expression that is searched in each path; its first group, else the whole
            match, names the patient.

    Raises:
        UserError: The pattern is no regular expression, or no path matches.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.patient_pattern {pattern!r} is no pattern: {error}") from error
    found = [_patient(expression, sample.source) for sample in samples]
    if samples and not any(found):
        example = samples[0].source
        raise UserError(f"data.patient_pattern {pattern!r} matches no path such as {example!r}")
    return [
        replace(sample, patient=sample.patient or patient)
        for sample, patient in zip(samples, found, strict=True)
    ]


def subfolders(root: Path) -> list[Path]:
    """The folders right below a root, by name."""
    folders = root.iterdir() if root.is_dir() else ()
    return sorted(path for path in folders if path.is_dir() and not is_clutter(path.name))


def files_with_suffix(root: Path, suffix: str) -> list[Path]:
    """The root itself if it is such a file, else such files right below it, by name."""
    files = root.iterdir() if root.is_dir() else (root,)
    return sorted(p for p in files if p.suffix.lower() == suffix and not is_clutter(p.name))


def _named(name: str) -> type[Layout]:
    try:
        return catalog.find(_PACKAGE, name, Layout)  # type: ignore[type-abstract]
    except LookupError as error:
        raise UserError(str(error)) from error


def _recognised(root: Path) -> type[Layout]:
    layouts = [_named(name) for name in catalog.available(_PACKAGE)]
    volumes = (root / "imagesTr").is_dir()  # the form of MSD and of nnU-Net
    if not volumes:
        for layout in sorted(layouts, key=lambda layout: layout.rank):
            if layout.recognises(root):
                return layout
    raise UserError(f"{root}: {_why_nothing_fits(root)}")


def _why_nothing_fits(root: Path) -> str:
    if is_volume(root) or holds_volumes(root):
        return (
            "holds volumes, but says not which masks are theirs. Known: a dataset.json (MSD, "
            "nnU-Net raw), a .jsonl list, a CSV with columns image and label, folders of DICOM"
        )
    folders = [folder for folder in subfolders(root) if any(subfolders(folder))]
    inner = f" Did you mean {folders[0]}?" if len(folders) == 1 else ""
    return (
        "no layout fits. Known: train|val|test/<class>/, <class>/ (two or more), a CSV with columns"
        f" path and label, a MedMNIST .npz, images right in the folder.{inner}"
    )


def _patient(expression: re.Pattern[str], source: str) -> str | None:
    match = expression.search(source)
    if match is None:
        return None
    return (match[1] if expression.groups else match[0]) or None
