"""Small networks that say different things about different images, and pictures to show them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from medistill.data.formats import Picture, decode_array
from medistill.export.onnx import export_onnx
from medistill.types import Output

CLASSES = ["benign", "malignant", "normal"]
ODD_SIZES = [(5, 7), (1, 1), (37, 211), (640, 33), (64, 64), (1200, 1033)]


class Judge(nn.Module):
    """A library's classifier behind its own normalisation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Output:
        logits = self.network((images - 0.4) / 0.3)
        return Output(logits, logits)


class Small(nn.Module):
    """A convolution and a Linear: enough for all that does not concern the network."""

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 5, stride=2)
        self.head = nn.Linear(8, classes)
        nn.init.normal_(self.head.weight, std=20.0)

    def forward(self, images: Tensor) -> Output:
        features = self.convolution(images - 0.5).relu().flatten(2).mean(2)
        return Output(self.head(features), features)


def network_of(name: str) -> nn.Module:
    """A network of some family whose statistics and head are no longer those of the library."""
    torch.manual_seed(0)
    makers: dict[str, Callable[[], nn.Module]] = {
        "mobilenet_v2": lambda: torchvision.models.MobileNetV2(
            3, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]]
        ),
        "shufflenet_v2": lambda: torchvision.models.ShuffleNetV2(
            [2, 2, 2], [24, 48, 96, 192, 256], num_classes=3
        ),
        "resnet18": lambda: timm.models.ResNet(
            timm.models.resnet.BasicBlock, (2, 2, 2, 2), num_classes=3, channels=(16, 32, 64, 128)
        ),
        "vit": lambda: timm.models.VisionTransformer(
            img_size=64, patch_size=16, embed_dim=48, depth=2, num_heads=3, num_classes=3
        ),
    }
    network = Judge(makers[name]())
    for _ in range(3):
        network(torch.rand(4, 3, 64, 64))
    head = [part for part in network.modules() if isinstance(part, nn.Linear)][-1]
    nn.init.normal_(head.weight, std=0.3)
    return network.eval()


def random_picture(height: int, width: int, channels: int = 3) -> Picture:
    """Noise of a shape."""
    shape = (height, width, channels)
    return decode_array(np.random.default_rng(height).integers(0, 256, shape, np.uint8))


def config(**changes: Any) -> dict[str, Any]:
    """A deployed network's config, of which export reads a part."""
    known = {
        "format": 1,
        "task": "breast",
        "classes": CLASSES,
        "size": 64,
        "backbone": {"name": "torchvision/small", "options": {}},
        "temperature": 1.5,
    }
    return known | changes


@pytest.fixture
def small() -> nn.Module:
    return Small().eval()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small network with a threshold and a profile."""
    from medistill.export.profile import ImageProfile

    torch.manual_seed(0)
    pictures = [random_picture(side, side, 1) for side in range(60, 90)]
    profile = ImageProfile.of(pictures).as_document()
    threshold = {"class": "malignant", "value": 0.2, "sensitivity": 0.95}
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(Small().eval(), config(threshold=threshold, profile=profile), path)
    return path
