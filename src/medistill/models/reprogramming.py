"""φ: trainable residual blocks that carry a frozen teacher's features into the student's space.

The paper gives neither their count nor their width; see `docs/explanation`. It lives in training
alone: nothing of it is deployed.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from medistill.types import Output

CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS: dict[int, type[nn.Module]] = {0: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}

Layer = Callable[[int, int, int], nn.Module]
"""Makes one linear map from its input width, output width and kernel edge."""


class Residual(nn.Module):
    """A branch added to its shortcut, with a ReLU after the sum (the BasicBlock of ResNet)."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        total: Tensor = self.branch(inputs) + self.shortcut(inputs)
        return total.relu()


class Reprogramming(nn.Module):
    """φ as a whole: a teacher's output in, pooled features of the student's width out.

    Whether it reads the teacher's last map or its pooled vector, it always returns the pooled
    vector `(batch, width)`, so that the student's classifier can judge it as it is.

    Args:
        blocks: Residual blocks, the first of which takes the teacher's width.
        width: The student's pooled width.
        on_maps: Whether the blocks read `maps[-1]`; else they read `features`.
        dropout: Share of the teacher's channels left out at the entrance of φ.
    """

    def __init__(
        self, blocks: nn.Module, width: int, *, on_maps: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.width = width
        self.on_maps = on_maps
        # Whole channels, because neighbours within one map would tell what was dropped.
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, teacher: Output) -> Float[Tensor, "batch width"]:
        inputs = teacher.maps[-1] if self.on_maps else teacher.features
        if self.dropout.p:
            channels = inputs.reshape(*inputs.shape[:2], -1)
            inputs = self.dropout(channels).view(inputs.shape)
        outputs: Tensor = self.blocks(inputs)
        return outputs.flatten(2).mean(2) if self.on_maps else outputs


def reprogramming(
    teacher_width: int,
    map_shape: tuple[int, ...] | None,
    width: int,
    *,
    blocks: int = 2,
    bottleneck: bool = False,
    dropout: float = 0.0,
    zero_last_gamma: bool = False,
) -> Reprogramming:
    """φ for a teacher: convolutions on its maps in 2D or 3D, or an MLP on its pooled vectors.

    Args:
        teacher_width: Channels of the teacher's last map, or the length of its vectors.
        map_shape: `(channels, *space)` of the teacher's last map; None for vectors alone.
        width: The student's pooled width, shared with its classifier.
        blocks: How many residual blocks; the first changes the width, the others keep it.
        bottleneck: Reduce to half the width inside each block; a 3x3 convolution from 2048 to 512
            channels alone holds 9.4 M weights.
        dropout: Share of the teacher's channels left out at the entrance of φ.
        zero_last_gamma: Start each block as its shortcut, by a last batch norm of zero scale.
    """
    # 0 stands for vectors: no axis of space is left.
    space = 0 if map_shape is None else len(map_shape) - 1
    layer = _layer(space)
    stack = nn.Sequential()
    for index in range(blocks):
        inputs = width if index else teacher_width
        branch = _branch(layer, NORMS[space], inputs, width, bottleneck)
        # Block 1 projects even where the widths agree: channel i of the one is not i of the other.
        shortcut = nn.Identity() if index else _shortcut(layer, space, inputs, width)
        stack.append(Residual(branch, shortcut))
    _initialise(stack, zero_last_gamma)
    return Reprogramming(stack, width, on_maps=map_shape is not None, dropout=dropout)


def _layer(space: int) -> Layer:
    if space == 0:
        return lambda inputs, outputs, kernel: nn.Linear(inputs, outputs, bias=False)
    convolution = CONVOLUTIONS[space]
    return lambda inputs, outputs, kernel: convolution(
        inputs, outputs, kernel, padding=kernel // 2, bias=False
    )


def _branch(
    layer: Layer, norm: type[nn.Module], inputs: int, width: int, bottleneck: bool
) -> nn.Sequential:
    inner = max(width // 2, 1) if bottleneck else width
    steps: list[nn.Module] = [layer(inputs, inner, 1 if bottleneck else 3), norm(inner), nn.ReLU()]
    # An MLP has no neighbourhood: its bottleneck goes down and up, with nothing between.
    if bottleneck and norm is not nn.BatchNorm1d:
        steps += [layer(inner, inner, 3), norm(inner), nn.ReLU()]
    steps += [layer(inner, width, 1 if bottleneck else 3), norm(width)]
    return nn.Sequential(*steps)


def _shortcut(layer: Layer, space: int, inputs: int, width: int) -> nn.Module:
    if space == 0:
        return nn.Linear(inputs, width)
    return nn.Sequential(layer(inputs, width, 1), NORMS[space](width))


def _initialise(stack: nn.Sequential, zero_last_gamma: bool) -> None:
    for module in stack.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            # fan_out keeps the variance of gradients, as torchvision begins its ResNets; a layer of
            # torch begins with fan_in.
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if zero_last_gamma:
        _begin_as_shortcuts(stack)


def _begin_as_shortcuts(stack: nn.Sequential) -> None:
    for block in stack:
        assert isinstance(block, Residual) and isinstance(block.branch, nn.Sequential)
        last = block.branch[-1]
        assert isinstance(last, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
        nn.init.zeros_(last.weight)
