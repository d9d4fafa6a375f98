"""What the samples of a batch have to do with each other, as two networks see it.

Under several processes, pass features through `collective.whole_batch` first.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from medistill.losses.precision import at_least_float32, without_autocast


def similarity_distance(
    a: Float[Tensor, "batch width_a"], b: Float[Tensor, "batch width_b"]
) -> Float[Tensor, ""]:
    """Mean squared difference of how similar the samples of a batch are to each other.

    Each sample's similarities are taken relative to their norm. Unlike CKA they are not centred:
    features that share a large mean find all samples alike.
    Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019, equation 4.

    Args:
        a: Features, or flattened maps, of one network.
        b: Those of the other, same samples in the same order.
    """
    return (_similarities(a) - _similarities(b)).square().mean()


def _similarities(features: Tensor) -> Tensor:
    features = at_least_float32(features)
    with without_autocast(features):
        return F.normalize(features @ features.T)
