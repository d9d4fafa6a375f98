"""Where a network looks: its maps without their channels."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from medistill.losses.precision import at_least_float32


def attention(
    features: Float[Tensor, "batch channels *space"], *, power: float = 2.0
) -> Float[Tensor, "batch positions"]:
    """Activation-based spatial attention: the mean power of the channels, of norm 1 per sample.

    Neither the scale of the maps nor the order of their channels matters.
    Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017.

    Args:
        features: Maps of one scale.
        power: To which absolute values are raised; a higher one looks at the strongest places.
    """
    energy = at_least_float32(features).abs().pow(power).mean(1)
    return F.normalize(energy.flatten(1))


def attention_distance(
    a: Float[Tensor, "batch channels_a *space"],
    b: Float[Tensor, "batch channels_b *space"],
    *,
    power: float = 2.0,
) -> Float[Tensor, " batch"]:
    """Mean squared difference of two attentions, for each sample."""
    return (attention(a, power=power) - attention(b, power=power)).square().mean(1)
