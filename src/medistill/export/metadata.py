"""What a deployed model says about itself; the same document is its config and its metadata."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from medistill.export.profile import ImageProfile

FORMAT = 1
PROBABILITIES, EVIDENCE = "probabilities", "evidence"  # outputs of the ONNX file


@dataclass(frozen=True)
class Threshold:
    """Where a deployed model decides, fitted on validation.

    Args:
        positive: The class whose probability is compared.
        value: From this probability on, an image counts as positive.
        sensitivity: The share of positive validation images that it was fitted to find.
    """

    positive: str
    value: float
    sensitivity: float

    def decide(self, classes: Sequence[str], probabilities: Sequence[float]) -> str:
        """The positive class, or what else it is: the other class, or "not" the positive one."""
        if probabilities[classes.index(self.positive)] >= self.value:
            return self.positive
        others = [name for name in classes if name != self.positive]
        return others[0] if len(others) == 1 else f"not {self.positive}"


@dataclass(frozen=True)
class Metadata:
    """All that `predict` must know besides the network.

    Args:
        task: The question that the network answers.
        classes: In the order of the probabilities.
        size: Edge in pixels to which images are brought.
        backbone: Name of the student's backbone.
        temperature: Logits are divided by it: calibration, fitted on validation.
        threshold: Where to decide, if that was fitted.
        licences: Terms that come with the weights, such as those of the teacher.
        profile: Of the training images, to flag images that are unlike them.
        evidence: Name of the output that says where in an image what spoke for each class; None
            in a file without one.
        version: Of the medistill that wrote it.
    """

    task: str
    classes: tuple[str, ...]
    size: int
    backbone: str
    temperature: float = 1.0
    threshold: Threshold | None = None
    licences: tuple[str, ...] = ()
    profile: ImageProfile | None = None
    evidence: str | None = None
    version: str = field(default_factory=lambda: version("medistill"))

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {list(self.classes)} are none, or not distinct")
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature} is not above 0")
        if self.threshold and self.threshold.positive not in self.classes:
            raise ValueError(f"threshold is for {self.threshold.positive!r}, which is no class")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Metadata":
        """Metadata from a deployed network's config, whose other keys do not matter here.

        Raises:
            KeyError: `task`, `classes`, `size` or `backbone` is missing.
            ValueError: A value makes no sense.
        """
        backbone, threshold = config["backbone"], config.get("threshold")
        profile = config.get("profile")
        return cls(
            task=str(config["task"]),
            classes=tuple(str(name) for name in config["classes"]),
            size=int(config["size"]),
            backbone=backbone if isinstance(backbone, str) else str(backbone["name"]),
            temperature=float(config.get("temperature") or 1.0),
            threshold=_threshold(threshold) if threshold else None,
            licences=tuple(config.get("licences") or ()),
            profile=ImageProfile.from_document(profile) if profile else None,
            evidence=config.get("evidence"),
            version=str(config.get("version") or version("medistill")),
        )

    @classmethod
    def from_json(cls, text: str) -> "Metadata":
        """Metadata from the text of an ONNX file's entry; errors as in `of`."""
        document = json.loads(text)
        if document["format"] > FORMAT:
            raise ValueError(f"it was written by medistill {document['version']}: upgrade")
        return cls.of(document)

    def to_json(self) -> str:
        """One line of JSON, the same for the same metadata."""
        point = self.threshold
        document = {
            "format": FORMAT,
            "version": self.version,
            "task": self.task,
            "classes": self.classes,
            "size": self.size,
            "backbone": self.backbone,
            "temperature": self.temperature,
            "threshold": point
            and {"class": point.positive, "value": point.value, "sensitivity": point.sensitivity},
            "licences": self.licences,
            "profile": self.profile and self.profile.as_document(),
            "evidence": self.evidence,
        }
        return json.dumps(document, ensure_ascii=False)


def _threshold(document: Mapping[str, Any]) -> Threshold:
    return Threshold(
        str(document["class"]), float(document["value"]), float(document["sensitivity"])
    )
