"""Where a network saw evidence for a class: Grad-CAM, for convolutions and for grids of tokens."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from medistill.types import Output


def grad_cam(
    network: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    classes: Int[Tensor, " batch"],
) -> Float[Tensor, " batch *grid"]:
    """Evidence for one class of each image, on the grid of the network's last map.

    Each channel weighs as much as its mean gradient; what speaks against the class is cut off.
    Where a global average and one Linear end the network, as in every student, it is the class
    activation map over the number of places.
    Selvaraju et al., Grad-CAM, ICCV 2017.

    Args:
        network: Gives an `Output` with logits and maps; in evaluation mode, so that images do not
            touch one another.
        images: In [0, 1].
        classes: Whose evidence is sought.
    """
    if network.training:
        raise ValueError("Grad-CAM is of a network in evaluation mode: call eval() first")
    with torch.enable_grad():
        # Through the images, because weights may be frozen.
        output: Output = network(images.detach().clone().requires_grad_())
        assert output.logits is not None, "an encoder without a head has evidence for nothing"
        scores = output.logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(scores, output.maps[-1])
    weights = gradient.flatten(2).mean(2)
    return torch.einsum("bc,bc...->b...", weights, output.maps[-1].detach()).relu()
