"""What a deployed segmenter says about itself: all that `predict` must know besides the network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from medistill.errors import UserError
from medistill.export.volume_profile import ScanProfile
from medistill.modalities import Modality, modality_of
from medistill.scans import Preparation, Scan, UnreadableScan

FORMAT = 1
KIND = "segmentation"


@dataclass(frozen=True)
class VolumeMetadata:
    """Of an exported segmenter.

    Args:
        task: The question that the network answers.
        classes: In the order of the probabilities; a label map holds c + 1 for class c.
        patch: Sides in voxels of what the network is shown.
        preparation: What is done to a scan first; where several modalities were trained on, a
            scan's own takes the place of its modality.
        network: Name of the segmenter.
        overlap: Share of a patch's side that its neighbour covers too.
        threshold: What the mean probability of a voxel's class must exceed.
        licences: Terms that come with the weights, such as those of the teacher.
        profile: Of the training scans, to flag scans that are unlike them.
        modalities: What the training scans were; that of the preparation alone where empty.
        version: Of the medistill that wrote it.
    """

    task: str
    classes: tuple[str, ...]
    patch: tuple[int, int, int]
    preparation: Preparation
    network: str
    overlap: float = 0.5
    threshold: float = 0.5
    licences: tuple[str, ...] = ()
    profile: ScanProfile | None = None
    modalities: tuple[Modality, ...] = ()
    version: str = field(default_factory=lambda: version("medistill"))

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {list(self.classes)} are none, or not distinct")
        if min(self.patch) < 1:
            raise ValueError(f"patch {self.patch} has a side without a voxel")

    @property
    def trained_on(self) -> tuple[Modality, ...]:
        """The modalities that it knows, at least one."""
        return self.modalities or (self.preparation.modality,)

    def preparation_of(self, scan: Scan, modality: Modality | None = None) -> Preparation:
        """What is done to this scan before the network sees it.

        Args:
            scan: A DICOM series tells its modality.
            modality: What a person says that it is.

        Raises:
            UnreadableScan: Several were trained on, and nothing tells which of them it is.
            UserError: What a person says was not trained on.
        """
        known = self.trained_on
        if modality is not None and modality not in known:
            raise UserError(
                f"--modality {modality}: this network was trained on {_listed(known)} alone. Leave "
                "it out."
            )
        told = modality or modality_of(scan.modality)
        if len(known) == 1 or told == self.preparation.modality:
            return self.preparation
        if told is None:
            raise UnreadableScan(
                f"does not tell its modality, and {_listed(known)} were trained on, each with "
                f"intensities of its own: say --modality {' or '.join(known)}"
            )
        return replace(self.preparation, modality=told)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "VolumeMetadata":
        """Metadata from a deployed network's config, whose other keys do not matter here.

        Raises:
            KeyError: `task`, `classes`, `patch`, `preparation` or `segmenter` is missing.
            ValueError: A value makes no sense.
            UserError: The preparation does not.
        """
        profile = config.get("profile")
        a, b, c = (int(side) for side in config["patch"])
        return cls(
            task=str(config["task"]),
            classes=tuple(str(name) for name in config["classes"]),
            patch=(a, b, c),
            preparation=Preparation.from_document(config["preparation"]),
            network=str(config["segmenter"]["name"]),
            overlap=float(config.get("overlap", 0.5)),
            threshold=float(config.get("threshold", 0.5)),
            licences=tuple(config.get("licences") or ()),
            profile=ScanProfile.from_document(profile) if profile else None,
            modalities=tuple(config.get("modalities") or ()),
            version=str(config.get("version") or version("medistill")),
        )

    @classmethod
    def from_json(cls, text: str) -> "VolumeMetadata":
        """Metadata from the text of an ONNX file's entry; errors as in `of`."""
        document = json.loads(text)
        if document["format"] > FORMAT:
            raise ValueError(f"it was written by medistill {document['version']}: upgrade")
        return cls.of(document)

    def to_json(self) -> str:
        """One line of JSON, the same for the same metadata."""
        document = {
            "format": FORMAT,
            "kind": KIND,
            "version": self.version,
            "task": self.task,
            "classes": self.classes,
            "patch": self.patch,
            "preparation": self.preparation.as_document(),
            "segmenter": {"name": self.network},
            "overlap": self.overlap,
            "threshold": self.threshold,
            "licences": self.licences,
            "profile": self.profile and self.profile.as_document(),
            "modalities": self.modalities,
        }
        return json.dumps(document, ensure_ascii=False)


def _listed(modalities: Sequence[str]) -> str:
    return " and ".join(map(str.upper, modalities))
