"""The classification backbones of torchvision."""

from collections.abc import Iterator, Mapping
from typing import Any

import torchvision.models as library
from jaxtyping import Float
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import (
    Backbone,
    BackboneSpec,
    check_options,
    first_line,
    last_of_each_size,
    unknown,
)

_HEADS = ("avgpool", "dropout", "fc", "classifier", "aux1", "aux2", "AuxLogits")
_RESERVED = {"weights", "num_classes", "progress", "aux_logits", "transform_input", "init_weights"}
# Their forward does more than to call one module after the other.
_ELSEWHERE = {
    "vit": "vit_base_patch16_224",
    "swin": "swin_tiny_patch4_window7_224",
    "maxvit": "maxvit_tiny_tf_224",
}
_INCEPTIONS = ("googlenet", "inception_v3")


class Torchvision(Backbone):
    """A backbone of torchvision that is a chain of modules up to its pooling."""

    def __init__(self, architecture: str, options: Mapping[str, Any]) -> None:
        super().__init__(architecture, options)
        self.spec = BackboneSpec(f"torchvision/{architecture}", dict(options))
        check_options(self.spec.name, options, _RESERVED)
        self.network = _without_head(_library_network(architecture, options))
        self.mean, self.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        if architecture in _INCEPTIONS:  # whose published weights were converted from TensorFlow
            self.mean = self.std = (0.5, 0.5, 0.5)
        self.size = 299 if architecture == "inception_v3" else 224
        self._finish()

    @staticmethod
    def names() -> list[str]:
        """The classification architectures of torchvision that are such chains."""
        models = library.list_models(module=library)
        return [name for name in models if _family(name) not in _ELSEWHERE]

    def forward(self, images: Float[Tensor, "batch channels *space"]) -> tuple[Tensor, ...]:
        """The last output of each resolution."""
        return last_of_each_size(self._outputs(images))

    def pretrained(self) -> dict[str, Tensor]:
        """The weights that torchvision calls its default ones."""
        weights = library.get_model_weights(self.spec.name.partition("/")[2])["DEFAULT"]
        state: dict[str, Tensor] = weights.get_state_dict(check_hash=True, weights_only=True)
        return state

    def _outputs(self, images: Tensor) -> Iterator[Tensor]:
        # From the children as they are now, because synchronised batch norms may replace some.
        for child in self.network.children():
            for block in child if type(child) is nn.Sequential else [child]:
                images = block(images)
                yield images


def _library_network(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    if other := _ELSEWHERE.get(_family(architecture)):
        raise UserError(
            f"torchvision/{architecture} is no chain of modules up to its pooling; use timm's, "
            f"such as timm/{other}."
        )
    if architecture not in Torchvision.names():
        raise unknown("torchvision", architecture, Torchvision.names())
    extra = {"aux_logits": False, "init_weights": True} if architecture in _INCEPTIONS else {}
    try:
        network: nn.Module = library.get_model(architecture, weights=None, **extra, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"torchvision/{architecture} refused options {dict(options)}: {first_line(error)}."
        ) from error
    return network


def _without_head(network: nn.Module) -> nn.Module:
    for name in _HEADS:
        if hasattr(network, name):
            delattr(network, name)
    if isinstance(network, library.DenseNet):  # whose forward ends with one
        network.add_module("relu", nn.ReLU(inplace=True))
    return network


def _family(architecture: str) -> str:
    return architecture.partition("_")[0]
