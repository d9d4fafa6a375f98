"""What a way to arrange scans and masks on disk must say about them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from medistill import catalog
from medistill.data.layouts.base import Sample, check_task, first_few
from medistill.data.layouts.base import with_patients as patients_of_samples
from medistill.errors import UserError
from medistill.modalities import Modality
from medistill.scans import Scan, read_channels, read_scan

_PACKAGE = "medistill.data.volumes.layouts"
Values = dict[str, tuple[int, ...]]
_MOST_CLASSES = 255  # of one byte, 0 being background
LARGEST = 2**16 - 1  # value of a class: a table as long looks each voxel up


@dataclass(frozen=True)
class Case:
    """One scan of a data set, before it is read.

    Args:
        name: What a listing calls it; it may tell a patient and stays with the data.
        image: Its path relative to the root, with `/`; `folder#series` for one of several series.
        label: Path of its label map, or of a file with a channel for each class; None if unknown.
        masks: Paths of one mask for each of its `classes`, in place of a label.
        classes: The classes that were looked for; all of the layout's where none are named.
        patient: Whom it shows; None when not known.
        split: The official split it belongs to; None when there is none.
        modality: None where nothing says it.
        region: Part of the body; empty when not known.
        dataset: Which of several data sets it comes from; empty when not known.
        orientation: To which axes its list wants it turned, `ASR` say; empty where it does not.
    """

    name: str
    image: str
    label: str | None = None
    masks: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    patient: str | None = None
    split: str | None = None
    modality: Modality | None = None
    region: str = ""
    dataset: str = ""
    orientation: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Every file that says what is in it."""
        return self.masks or ((self.label,) if self.label else ())

    @property
    def sample(self) -> Sample:
        """As splits and findings know it; what stands for its class is its region."""
        return Sample(self.image, self.region or None, self.split, self.patient)


class VolumeLayout(ABC):
    """A way to arrange scans and their masks under a root.

    Args:
        root: A folder, or the one file that describes the data.
        task: Which of several regions of the body to read, where the layout lists several.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    rank: ClassVar[int]
    """Layouts are asked in this order whether they recognise a root."""

    def __init__(self, root: Path, *, task: str | None = None) -> None:
        self.root = root
        self.task = task

    @classmethod
    @abstractmethod
    def recognises(cls, root: Path) -> bool:
        """Whether the root looks like this layout."""

    @abstractmethod
    def values(self) -> Values:
        """The classes in their order, with the values of a label map that mean each of them."""

    @abstractmethod
    def _listed(self) -> list[Case]:
        """Every case that the layout names, of all regions."""

    def cases(self) -> list[Case]:
        """Every case with what is known of it, in an order that the disk has no part in.

        Raises:
            UserError: Files are missing, or one of several regions must be named.
        """
        cases = self._of_task(self._listed())
        if not cases:
            raise UserError(f"{self.root}: lists no scan")
        # Before anything is read: a path that is wrong after an hour costs that hour.
        self._must_exist(
            [path for case in cases for path in (case.image.partition("#")[0], *case.labels)]
        )
        return sorted(cases, key=lambda case: (case.image, case.labels))

    def regions(self) -> tuple[str, ...]:
        """Parts of the body that its cases name."""
        return tuple(dict.fromkeys(case.region for case in self._listed() if case.region))

    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the targets.

        Raises:
            UserError: There are more than a label map can hold.
        """
        names = tuple(self.values())
        if len(names) > _MOST_CLASSES:
            raise UserError(
                f"{self.root}: {len(names)} classes, but a label map holds {_MOST_CLASSES}; is a "
                "scan named as a label?"
            )
        return names

    def values_in(self, case: Case) -> Values:
        """Likewise for the label map of one case."""
        return self.values()

    def read(self, case: Case) -> Scan:
        """The scan of a case."""
        path, _, series = case.image.partition("#")
        return read_scan(self.root / path, series=series)

    def read_label(self, case: Case) -> list[Scan]:
        """One label map, or a mask for each class of the case."""
        if case.masks:
            return [read_scan(self.root / path) for path in case.masks]
        if case.label is None:
            return []
        path = self.root / case.label
        return [read_scan(path)] if path.is_dir() else read_channels(path)

    def files(self, path: str) -> list[Path]:
        """What lies behind a path of a case: a file, or the slices in a folder."""
        place = self.root / path.partition("#")[0]
        if place.is_dir():
            return sorted(p for p in place.iterdir() if p.is_file() and p.name[0] != ".")
        return [place]

    def _of_task(self, cases: list[Case]) -> list[Case]:
        check_task(self.task, (case.region for case in cases), self.root, "region")
        return [case for case in cases if self.task in (None, case.region)]

    def _must_exist(self, paths: list[str]) -> None:
        missing = [path for path in dict.fromkeys(paths) if not (self.root / path).exists()]
        if missing:
            count = f"{len(missing)} of {len(paths)} files"
            raise UserError(f"{self.root}: {count} are missing: {first_few(missing)}")


def open_volumes_root(
    root: Path, name: str = "auto", task: str | None = None
) -> VolumeLayout | None:
    """The layout of a root with volumes, recognised by looking or named.

    Args:
        root: A folder, or the one file that describes the data.
        name: A layout of the catalogue; `auto` takes the first that recognises the root.
        task: Which of several regions to read.

    Returns:
        None where `auto` finds no volumes, or another name is no layout of volumes.
    """
    if not root.exists():
        raise UserError(f"data root '{root}' does not exist (looked at {root.resolve()})")
    layouts = {each: _found(each) for each in catalog.available(_PACKAGE)}
    if name == "auto":
        ranked = sorted(layouts.values(), key=lambda layout: layout.rank)
        fitting = (layout for layout in ranked if layout.recognises(root))
        found = next(fitting, None)
    else:
        # `manifest` may mean one of images as well: what is in it decides.
        named = (
            one
            for key, one in layouts.items()
            if name == key or (name in one.aliases and one.recognises(root))
        )
        found = next(named, None)
    return found(root, task=task) if found is not None else None


def lays_out(name: str, root: Path) -> bool:
    """Whether a layout of volumes has this name, and a root looks like it."""
    named = {each: _found(each) for each in catalog.available(_PACKAGE)}
    fitting = (found for key, found in named.items() if name in (key, *found.aliases))
    return root.exists() and any(found.recognises(root) for found in fitting)


def with_patients(cases: Sequence[Case], pattern: str) -> list[Case]:
    """The cases with patients read off their paths, where none is known yet.

    Args:
        cases: Any cases.
        pattern: As for images: its first group, else the whole match, names the patient.
    """
    known = patients_of_samples([case.sample for case in cases], pattern)
    return [replace(case, patient=s.patient) for case, s in zip(cases, known, strict=True)]


def class_name(name: str) -> str:
    """One spelling for one class: small letters, and spaces between words."""
    return " ".join(name.replace("_", " ").split()).lower()


def stem(path: str) -> str:
    """The name of a file without folders and without the suffixes of NIfTI."""
    return Path(path).name.removesuffix(".gz").removesuffix(".nii")


def channels_of(told: Any) -> list[Any]:
    """What a dataset.json says of channels: an object by their numbers, a list, or a single name.

    The form is that of an object; people write the others by hand.
    """
    if isinstance(told, Mapping):
        return list(told.values())
    return list(told) if isinstance(told, list) else [told] if told else []


def values_of(labels: Any, where: Path) -> Values:
    """Classes with their values, from `labels` of a dataset.json in either direction.

    Background is left out; a class of several values may overlap with others.
    """
    if not isinstance(labels, Mapping):
        raise UserError(f"{where}: labels are {labels!r}; an object of names and numbers is needed")
    found: Values = {}
    for key, told in labels.items():
        name, numbers = _class_of(key, told, where)
        if own := tuple(filter(None, numbers)):
            found[name] = (*found.get(name, ()), *own)
    if not found:
        raise UserError(f"{where}: names no label but background")
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _class_of(key: Any, told: Any, where: Path) -> tuple[str, tuple[int, ...]]:
    """One class with its values, whichever of the two is the key."""
    name, values = (told, key) if str(key).strip().isdigit() else (key, told)
    try:
        # Both directions are in use: MSD has {"1": "liver"}, nnU-Net 2 {"liver": 1}.
        numbers = tuple(int(v) for v in (values if isinstance(values, list) else [values]))
    except (TypeError, ValueError) as error:
        said = f"label {key!r} is {told!r}"
        raise UserError(f"{where}: {said}; a name and a number are needed") from error
    if not all(0 <= number <= LARGEST for number in numbers):
        said = f"label {key!r} is {told!r}"
        raise UserError(f"{where}: {said}; values are from 0 to {LARGEST}")
    spelt = class_name(str(name))
    if spelt == "ignore":
        raise UserError(f"{where}: an `ignore` label is not supported; make it background")
    return spelt, numbers


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read as a JSON object ({error})") from error


def description(root: Path) -> dict[str, Any]:
    """The dataset.json of a root; empty where there is none that is an object."""
    path = root / "dataset.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (OSError, ValueError, TypeError):
        return {}


def relative(path: object, root: Path) -> str:
    """A path as its file writes it, relative to the root where it can be."""
    told = Path(str(path).strip().replace("\\", "/"))
    return (told.relative_to(root) if told.is_relative_to(root) else told).as_posix()


def all_known(names: Iterable[object]) -> tuple[str, ...]:
    """Classes under their one spelling, in their order."""
    return tuple(dict.fromkeys(class_name(str(name)) for name in names))


def _found(name: str) -> type[VolumeLayout]:
    return catalog.find(_PACKAGE, name, VolumeLayout)  # type: ignore[type-abstract]
