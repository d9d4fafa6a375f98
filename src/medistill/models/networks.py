"""The networks that are trained, judged and shipped: an encoder, and one Linear on top of it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import Backbone
from medistill.resampling import resize
from medistill.types import Output

PerChannel = float | Sequence[float]
LEVEL = 1 / 255  # between two values of 8 bits


class Encoder(nn.Module):
    """A backbone with its own input normalisation: images in [0, 1] go in, features come out.

    Args:
        backbone: What makes the maps.
        mean: Subtracted from each channel; one number, or one per channel. The backbone's own
            by default.
        std: What each channel is divided by, likewise.
        stretch: Whether each image is stretched to [0, 1] before that, likewise.
        size: Images are brought to this height and width; None leaves them as they are.

    Attributes:
        shown: Height and width of the images of the data, from which the sizes of its maps follow;
            those that its backbone was designed for until somebody says.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        mean: PerChannel | None = None,
        std: PerChannel | None = None,
        stretch: bool | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.size = size
        self.stretch = backbone.stretch if stretch is None else stretch
        self.shown = backbone.size
        self.normalise_by(
            backbone.mean if mean is None else mean, backbone.std if std is None else std
        )
        self.width = backbone.width
        self.widths = backbone.widths

    def normalise_by(self, mean: PerChannel, std: PerChannel) -> None:
        """Change the normalisation; buffers, but no part of the state: the config holds them."""
        self.mean, self.std = _three(mean, "mean"), _three(std, "std")
        if min(self.std) <= 0:
            raise UserError(f"std = {std}: an image cannot be divided by it; give values above 0.")
        like = next(self.backbone.parameters())
        for name, values in {"_mean": self.mean, "_std": self.std}.items():
            buffer = torch.tensor(values, device=like.device)
            self.register_buffer(name, buffer.view(3, 1, 1), persistent=False)

    def shapes(self, size: int) -> tuple[tuple[int, ...], ...]:
        """Channels, height and width of each map, for images of `size` x `size`.

        Raises:
            UserError: The backbone does not take such images.
        """
        return self.backbone.shapes(self.size or size)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Output:
        """Features and maps, without logits."""
        maps = self.backbone(self.prepared(images))
        return Output(None, maps[-1].flatten(2).mean(dim=2), maps)

    def prepared(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 rows columns"]:
        """Images as the backbone takes them: of its size, stretched if it wants so, normalised."""
        if self.size is not None and images.shape[-2:] != (self.size, self.size):
            images = resize(images, self.size)
        if self.stretch:
            images = stretched(images)
        return (images - self._mean) / self._std


class Student(nn.Module):
    """What is deployed: an encoder and one Linear.

    Args:
        encoder: May be shared with the students of other tasks.
        classes: How many the Linear tells apart.
    """

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        like = next(encoder.parameters())
        self.head = nn.Linear(encoder.width, classes, device=like.device)

    @property
    def backbone(self) -> Backbone:
        """The encoder's backbone."""
        return self.encoder.backbone

    @property
    def width(self) -> int:
        """Length of the features."""
        return self.encoder.width

    @property
    def map_shapes(self) -> tuple[tuple[int, ...], ...]:
        """`(channels, *space)` of every map of the images that it is shown, as in `Output.maps`."""
        return self.encoder.shapes(self.encoder.shown)

    def with_classes(self, classes: int) -> "Student":
        """A student with a new head on the same encoder, whose weights the two share."""
        return Student(self.encoder, classes)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Output:
        """Logits, features and maps."""
        _, features, maps = self.encoder(images)
        return Output(self.head(features), features, maps)


def stretched(
    images: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Each image from its lowest to its highest value, of all channels together, to [0, 1].

    What varies by less than one level of 8 bits, as the rounding of a resized blank image does, is
    not blown up; an image of one value becomes black.
    """
    low = images.amin((1, 2, 3), keepdim=True)
    high = images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp_min(LEVEL)


def _three(values: PerChannel, name: str) -> tuple[float, float, float]:
    given = [values] * 3 if isinstance(values, float | int) else list(values)
    if len(given) != 3:
        raise UserError(f"{name} = {values}: give one number, or three for red, green and blue.")
    return (float(given[0]), float(given[1]), float(given[2]))
