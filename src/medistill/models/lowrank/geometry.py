"""What a convolution does to shapes, and how its experts' factors are laid out in its weight."""

from dataclasses import dataclass
from itertools import chain
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Geometry:
    """A convolution with one group, in 2D or 3D; its axes are `(batch, channels, *space)`.

    Args:
        inputs: Channels that go in.
        outputs: Channels that come out.
        kernel: Its edges, which need not be equal.
        stride: Along each axis of space.
        padding: Zeros before and after, along each axis.
        dilation: Along each axis.
        multiple: What the ranks of experts are multiplied by here.
    """

    inputs: int
    outputs: int
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    multiple: int = 1

    @property
    def shape(self) -> Sizes:
        """Of the weight."""
        return (self.outputs, self.inputs, *self.kernel)

    @property
    def first(self) -> int:
        """The first edge of the kernel, along which an expert's factors are cut."""
        return self.kernel[0]

    @property
    def rest(self) -> int:
        """Taps along the other edges together."""
        return prod(self.kernel[1:])

    def factors(self, rank: int) -> tuple[Sizes, Sizes]:
        """Shapes of an expert's A and B: its share of the weight is their product, seen anew.

        In 2D with a kernel of k x k, A is (r k, Cin k) and B is (Cout k, r k).
        """
        inner = rank * self.multiple * self.first
        return (inner, self.inputs * self.rest), (self.outputs * self.first, inner)

    def plane(self, space: Sizes) -> Sizes:
        """The space that comes out where `space` goes in."""
        sizes = zip(space, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)

    @property
    def pointwise(self) -> bool:
        """Whether every pixel is met alone."""
        return all(edge == 1 for edge in self.kernel)

    def bordered(self, pixels: Tensor) -> Tensor:
        """Pixels, `(batch, *space, channels)`, with the padding around them."""
        if not any(self.padding):
            return pixels
        return F.pad(pixels, [0, 0, *(side for side in reversed(self.padding) for _ in "ab")])

    def convolve(
        self, images: Tensor, weight: Tensor, bias: Tensor | None, *, groups: int = 1
    ) -> Tensor:
        """The library's own convolution."""
        settings = self.stride, self.padding, self.dilation, False, (0,) * len(self.kernel)
        return torch.convolution(images, weight, bias, *settings, groups)

    def gradients(
        self,
        gradient: Tensor,
        images: Tensor,
        weight: Tensor,
        *,
        asked: tuple[bool, bool],
        groups: int = 1,
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """The library's own gradients: of images and bias where `asked`, and of the weight."""
        settings = self.stride, self.padding, self.dilation, False, (0,) * len(self.kernel)
        wanted = [asked[0], True, asked[1]]
        backward = torch.ops.aten.convolution_backward
        found: tuple[Tensor | None, Tensor, Tensor | None] = backward(
            gradient, images, weight, [len(weight)], *settings, groups, wanted
        )
        return found


def geometry_of(conv: nn.Conv2d | nn.Conv3d, multiple: int = 1) -> Geometry:
    """That of a layer, once what `padded` does to its images is left out."""
    padding = tuple(map(int, conv.padding)) if _pads_plainly(conv) else (0,) * len(conv.kernel_size)
    around = conv.kernel_size, conv.stride, padding, conv.dilation
    return Geometry(conv.in_channels, conv.out_channels, *around, multiple)


def padded(conv: nn.Conv2d | nn.Conv3d, images: Tensor) -> Tensor:
    """Images with the border that is not of plain zeros, or not the same on both sides."""
    if conv.padding == "valid" or _pads_plainly(conv):
        return images
    sides = list(chain.from_iterable(reversed(_borders(conv))))
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    return F.pad(images, sides, mode=mode)


def _pads_plainly(conv: nn.Conv2d | nn.Conv3d) -> bool:
    """Whether the border is of zeros, and the same on both sides of an axis."""
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _borders(conv: nn.Conv2d | nn.Conv3d) -> list[tuple[int, int]]:
    """Width of the border before and behind, along each axis."""
    if conv.padding == "same":
        both = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        return [(total // 2, total - total // 2) for total in both]
    return [(int(p), int(p)) for p in conv.padding]


def change(
    a: Float[Tensor, "*tasks inner columns"], b: Float[Tensor, "*tasks rows inner"], shape: Sizes
) -> Tensor:
    """What an expert adds to a weight: B A, read anew in the weight's shape, row by row.

    Nothing is permuted. With q = i k + u, for input channel i and first tap u, the element at
    (o, i, u, v) stands in row o k + q // Cin and column (q mod Cin) k + v of the product.
    """
    return (b @ a).reshape(*a.shape[:-2], *shape)


def channels_last(tensor: Tensor) -> bool:
    """Whether channels lie next to each other; also told of a kernel of one tap."""
    return tensor.stride(1) == 1 and tensor.stride(-1) >= tensor.shape[1] > 1
