"""Where a network saw evidence for a class: Grad-CAM, for convolutions and for grids of tokens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from medistill.models.adapters.base import AdaptedEncoder, blocks_of
from medistill.types import Output


def grad_cam(
    network: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    classes: Int[Tensor, " batch"],
) -> Float[Tensor, " batch *grid"] | None:
    """Evidence for one class of each image, on the grid of the network's last map.

    Each channel weighs as much as its mean gradient; what speaks against the class is cut off.
    Where a global average and one Linear end the network, as in every student, it is the class
    activation map over the number of places. A head that reads a class token depends on no map:
    there the patches count that the last block attends to, normalised as it sees them.
    Selvaraju et al., Grad-CAM, ICCV 2017.

    Args:
        network: Gives an `Output` with logits and maps; in evaluation mode, so that images do not
            touch one another.
        images: In [0, 1].
        classes: Whose evidence is sought.

    Returns:
        None where the logits depend neither on the last map nor on such patches.
    """
    if network.training:
        raise ValueError("Grad-CAM is of a network in evaluation mode: call eval() first")
    with torch.enable_grad(), _last_attended(network) as attended:
        # Through the images, because weights may be frozen.
        output: Output = network(images.detach().clone().requires_grad_())
        assert output.logits is not None, "an encoder without a head has evidence for nothing"
        scores = output.logits.gather(1, classes[:, None]).sum()
        last, tokens = output.maps[-1], _alike(attended)
        gradient, *others = torch.autograd.grad(scores, [last, *tokens], allow_unused=True)
    if gradient is not None:
        return _evidence(gradient, last)
    known = [each for each in others if each is not None]
    if not known:
        return None
    return _evidence(_patches(sum(known[1:], known[0]), last), _patches(tokens[-1], last))


def _evidence(gradient: Tensor, map_: Tensor) -> Tensor:
    """What of a map speaks for the class."""
    weights = gradient.flatten(2).mean(2)
    return torch.einsum("bc,bc...->b...", weights, map_.detach()).relu()


def _patches(tokens: Float[Tensor, "batch tokens width"], like: Tensor) -> Tensor:
    """Tokens of the patches as a map; class token and prompts stand before them."""
    grid = like.shape[2:]
    return tokens[:, -grid.numel() :].mT.reshape(len(tokens), -1, *grid)


@contextmanager
def _last_attended(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the normalised tokens of the last block; of adapted transformers alone.

    Every other network reads its last map.
    """
    encoder, met = getattr(network, "encoder", None), list[Tensor]()
    if not isinstance(encoder, AdaptedEncoder):
        yield met
        return
    norm = blocks_of(encoder.backbone)[-1].norm1
    handle = norm.register_forward_hook(lambda _module, _given, tokens: met.append(tokens))
    try:
        yield met
    finally:
        handle.remove()


def _alike(met: Sequence[Tensor]) -> list[Tensor]:
    """Those that are the last one again: VQT's queries ask what the block itself attends to."""
    return [each for each in met if each.requires_grad and torch.equal(each, met[-1])]
