"""Divergences between two sets of predicted classes."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from medistill.losses.collective import whole_batch_mean
from medistill.losses.precision import at_least_float32


def softened_kl(
    logits: Float[Tensor, "batch classes"],
    wanted: Float[Tensor, "batch classes"],
    temperature: float,
) -> Float[Tensor, ""]:
    """KL divergence of softened classes from the wanted ones, times the squared temperature.

    The factor keeps the size of the gradient when the temperature changes; as it grows, the loss
    tends to the squared difference of the centred logits over twice the number of classes.
    Hinton et al., Distilling the Knowledge in a Neural Network, 2015.

    Args:
        logits: Of the network that learns.
        wanted: Of the network to imitate: the reference distribution.
        temperature: Divides both; 1 leaves them as they are.
    """
    log_own = F.log_softmax(at_least_float32(logits) / temperature, dim=1)
    log_wanted = F.log_softmax(at_least_float32(wanted) / temperature, dim=1)
    each = F.kl_div(log_own, log_wanted, reduction="none", log_target=True).sum(1)
    return whole_batch_mean(each) * temperature**2
