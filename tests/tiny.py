"""Networks, teachers and batches so small that a test of them takes milliseconds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medistill.models.backbones.base import Backbone, BackboneSpec
from medistill.models.networks import Encoder, Student
from medistill.models.teachers import Frozen
from medistill.types import Batch, Task

SIZE = 12
CLASSES = 3


class TinyBackbone(Backbone):
    """Two convolutions with batch norms, and so two scales; `width` is its only option."""

    def __init__(self, architecture: str = "tiny", options: Mapping[str, Any] | None = None):
        super().__init__(architecture, options or {})
        width = (options or {}).get("width", 6)
        self.spec = BackboneSpec("tiny/tiny", {"width": width})
        self.mean, self.std, self.size = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), SIZE
        self.network = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
            nn.Sequential(
                nn.Conv2d(4, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()
            ),
        )
        self._finish()

    @staticmethod
    def names() -> list[str]:
        return ["tiny"]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        fine = self.network[0](images)
        return fine, self.network[1](fine)

    def pretrained(self) -> dict[str, Tensor]:
        raise NotImplementedError("nobody trained it")


def tiny_encoder(width: int = 6) -> Encoder:
    return Encoder(TinyBackbone("tiny", {"width": width}))


def tiny_student(width: int = 6, classes: int = CLASSES) -> Student:
    return Student(tiny_encoder(width), classes)


def tiny_teacher(width: int = 8, grid: int | None = None, logits: bool = False) -> Frozen:
    """A frozen encoder, with its own judgement of the classes where `logits`."""
    network = tiny_student(width) if logits else tiny_encoder(width)
    return Frozen(network, grid=grid, image_shape=(3, SIZE, SIZE))


def tiny_tasks() -> tuple[Task, ...]:
    """Two tasks of as many classes as the tiny student has."""
    return tuple(
        Task(name, "classification", ("healthy", "benign", "malignant"), 8)
        for name in ("lung", "breast")
    )


def tiny_batch(size: int = 8) -> Batch:
    """Random images of both tasks and all classes."""
    return Batch(
        images=torch.rand(size, 3, SIZE, SIZE),
        targets=torch.arange(size) % CLASSES,
        tasks=torch.arange(size) % 2,
        samples=torch.arange(size),
        views=torch.zeros(size, dtype=torch.long),
        weights=torch.ones(size),
    )
