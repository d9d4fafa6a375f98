"""Networks, teachers and batches so small that a test of them takes milliseconds."""

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from medistill import catalog
from medistill.methods.base import Method
from medistill.models.backbones.base import Backbone, BackboneSpec, build_backbone
from medistill.models.judges import Judges
from medistill.models.networks import Encoder, Student
from medistill.models.teachers import Frozen, Scales
from medistill.types import Batch, Output, Task

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


def tiny_vit(classes: int = CLASSES, **options: Any) -> Student:
    """A plain vision transformer of four blocks, on nine patches; of the same weights always."""
    return _transformer("timm/vit_tiny_patch16_224", classes, options)


def tiny_windowed_vit(classes: int = CLASSES, **options: Any) -> Student:
    """Likewise as Segment Anything's: windows of 2 x 2 patches, padded, but for the third block."""
    windows = {"window_size": 2, "global_attn_indexes": (2,), "neck_chans": 10}
    return _transformer("timm/samvit_base_patch16", classes, {**windows, **options})


def _transformer(name: str, classes: int, options: dict[str, Any]) -> Student:
    small = {"img_size": SIZE, "patch_size": 4, "embed_dim": 12, "depth": 4, "num_heads": 2}
    backbone = _backbone(name, tuple(sorted({**small, **options}.items())))
    return Student(Encoder(copy.deepcopy(backbone)), classes)


@cache
def _backbone(name: str, options: tuple[tuple[str, Any], ...]) -> Backbone:
    with torch.random.fork_rng():  # whichever test is the first to ask
        torch.manual_seed(0)
        return build_backbone(name, dict(options))


def student_for(kind: type[Method]) -> Student:
    """A student of the family that a method declares to train."""
    return tiny_vit() if kind.family == "vit" else tiny_student()


def tiny_teacher(
    width: int = 8,
    grid: int | None = None,
    logits: bool = False,
    scales: Scales = "last",
    classes: int = CLASSES,
) -> Frozen:
    """A frozen encoder, with its own judgement of the classes where `logits`."""
    network = tiny_student(width, classes) if logits else tiny_encoder(width)
    return Frozen(network, grid=grid, scales=scales, image_shape=(3, SIZE, SIZE))


class Telling:
    """A teacher that says the maps it was told to, whatever the images."""

    classes = None

    def __init__(self, *maps: Tensor) -> None:
        self.maps = maps
        self.map_shapes = tuple(tuple(each.shape[1:]) for each in maps)
        self.map_shape = self.map_shapes[-1]
        self.width = self.map_shape[0]

    def __call__(self, batch: Batch) -> Output:
        return Output(None, self.maps[-1].flatten(2).mean(2), self.maps)


def tiny_tasks() -> tuple[Task, ...]:
    """Two tasks of as many classes as the tiny student has."""
    return tuple(
        Task(name, "classification", ("healthy", "benign", "malignant"), 8)
        for name in ("lung", "breast")
    )


def tiny_judges(width: int = 8) -> Judges:
    """What a teacher of some width says of the first of the tiny tasks."""
    with torch.random.fork_rng():  # what is built after it starts as it does without
        torch.manual_seed(0)
        return Judges((nn.Linear(width, CLASSES), None))


def tiny_settings(kind: type[Method]) -> dict[str, Any]:
    """What a recipe's training tells a method that wants to know, and a small network to build."""
    chosen = {"batch_size": 8, "task_network": "timm/test_resnet"}
    return {name: value for name, value in chosen.items() if name in catalog.settings(kind)}


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
