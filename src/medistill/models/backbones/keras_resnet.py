"""The ResNet of Keras, whose weights do not fit the one of torchvision."""

from collections.abc import Mapping
from typing import Any

import torch
import torchvision.models as library
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from medistill.errors import UserError
from medistill.models.backbones.base import (
    Backbone,
    BackboneSpec,
    check_options,
    last_of_each_size,
    unknown,
)

_EPSILON = 1.001e-5  # of Keras' batch norms in this network


class KerasResnet(Backbone):
    """ResNet-50 as Keras builds it, with torchvision's names.

    Each stage shrinks the map in its first 1x1 convolution, where torchvision does so in the 3x3
    one; convolutions have biases; and batch norms have an epsilon of their own.
    """

    network: Any  # with members of its own

    def __init__(self, architecture: str, options: Mapping[str, Any]) -> None:
        super().__init__(architecture, options)
        self.spec = BackboneSpec(f"keras_resnet/{architecture}", dict(options))
        check_options(self.spec.name, options, set(options))
        if architecture not in KerasResnet.names():
            raise unknown("keras_resnet", architecture, KerasResnet.names())
        self.network = library.resnet50(weights=None)
        del self.network.avgpool, self.network.fc
        for module in self.network.modules():
            _as_in_keras(module)
        self.mean, self.std, self.size = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224
        self._finish()

    @staticmethod
    def names() -> list[str]:
        """The one that a foundation model was released as."""
        return ["resnet50"]

    def forward(self, images: Float[Tensor, "batch channels *space"]) -> tuple[Tensor, ...]:
        """The last map of each resolution."""
        maps = []
        for child in self.network.children():
            images = child(images)
            maps.append(images)
        return last_of_each_size(maps)

    def pretrained(self) -> dict[str, Tensor]:
        """None is published by a library."""
        raise UserError("no library publishes them")


def _as_in_keras(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        module.bias = nn.Parameter(torch.zeros(module.out_channels))
    elif isinstance(module, nn.BatchNorm2d):
        module.eps = _EPSILON
    elif isinstance(module, Bottleneck):
        module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
