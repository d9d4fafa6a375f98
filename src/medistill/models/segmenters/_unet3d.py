"""A plain U-Net as nnU-Net builds it: convolution, instance norm, leaky rectifier, and again."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SLOPE = 0.01  # of the leaky rectifiers, which He's initialisation has to know

Three = tuple[int, int, int]


@dataclass(frozen=True)
class Plan:
    """The shape of a U-Net.

    Args:
        inputs: Channels of its images.
        widths: Channels of each stage, fine to coarse.
        convs: Convolutions of each stage of encoder and decoder.
        strides: Of the first convolution of each stage.
        kernels: Of the convolutions of each stage.
    """

    inputs: int
    widths: tuple[int, ...]
    convs: int
    strides: tuple[Three, ...]
    kernels: tuple[Three, ...]

    @property
    def stride(self) -> Three:
        """Voxels that one of the coarsest map stands for."""
        total = [1, 1, 1]
        for steps in self.strides:
            total = [a * b for a, b in zip(total, steps, strict=True)]
        return (total[0], total[1], total[2])


class Layer(nn.Module):
    """One convolution with its norm and rectifier.

    Args:
        inputs: Channels that go in.
        outputs: Channels that come out.
        kernel: Its sides, all odd.
        stride: Along each axis.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Three, stride: Three) -> None:
        super().__init__()
        # Odd sides keep the grid, so that a map lies on the voxels that it came from.
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, padding)
        self.norm = nn.InstanceNorm3d(outputs, eps=1e-5, affine=True)
        self.rectify = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """Maps of the strided grid."""
        rectified: Tensor = self.rectify(self.norm(self.conv(images)))
        return rectified


class UNet3d(nn.Module):
    """Encoder, and a decoder that ends at the images' own grid.

    Args:
        plan: Its shape.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        channels = plan.inputs
        for width, kernel, stride in zip(plan.widths, plan.kernels, plan.strides, strict=True):
            self.encoder.append(_stage(channels, width, plan.convs, kernel, stride))
            channels = width
        self.ups, self.decoder = nn.ModuleList(), nn.ModuleList()
        # As wide as the kernel is long: without overlap, no voxel is reached twice (Odena et al.,
        # Deconvolution and Checkerboard Artifacts, 2016).
        for place in reversed(range(len(plan.widths) - 1)):
            width, stride = plan.widths[place], plan.strides[place + 1]
            self.ups.append(nn.ConvTranspose3d(plan.widths[place + 1], width, stride, stride))
            stage = _stage(2 * width, width, plan.convs, plan.kernels[place], (1, 1, 1))
            self.decoder.append(stage)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Maps of the encoder, fine to coarse, and those of every voxel."""
        maps = []
        for stage in self.encoder:
            images = stage(images)
            maps.append(images)
        for up, stage, skip in zip(self.ups, self.decoder, maps[-2::-1], strict=True):
            images = stage(torch.cat([up(images), skip], dim=1))
        return tuple(maps), images


def _stage(inputs: int, width: int, convs: int, kernel: Three, stride: Three) -> nn.Sequential:
    first = Layer(inputs, width, kernel, stride)
    return nn.Sequential(first, *(Layer(width, width, kernel, (1, 1, 1)) for _ in range(convs - 1)))


def _initialise(module: nn.Module) -> None:
    """He's initialisation, as nnU-Net does it."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def triples(values: Sequence[int | Sequence[int]]) -> tuple[Three, ...]:
    """Sides of each stage; one number stands for three alike."""
    spread = [[value] * 3 if isinstance(value, int) else list(value) for value in values]
    return tuple((a, b, c) for a, b, c in spread)
