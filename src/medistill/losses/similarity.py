"""Similarities between two sets of features of the same samples; their widths may differ.

Under several processes, pass features through `collective.whole_batch` first.
"""

from jaxtyping import Float
from torch import Tensor
from torch.linalg import matrix_norm

from medistill.losses.precision import at_least_float32, without_autocast

MINIMUM_ROWS = 8  # below, the unbiased estimate is mostly noise


def linear_cka(
    a: Float[Tensor, "batch width_a"], b: Float[Tensor, "batch width_b"], *, eps: float = 1e-8
) -> Float[Tensor, ""]:
    """Linear centred kernel alignment, in [0, 1].

    It is 1 when one is a rotation and scaling of the other: only the geometry of the batch counts.
    Biased upwards: 0.94 for unrelated features of width 512 in a batch of 32.
    Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019.

    Args:
        a: Features of one network.
        b: Features of the other, same samples in the same order.
        eps: Keeps constant features, which have no geometry, at 0 rather than 0/0.
    """
    a, b = _normalised(a), _normalised(b)
    with without_autocast(a):
        # Both forms agree; the smaller matrices decide.
        form = _by_samples if len(a) < max(a.shape[1], b.shape[1]) else _by_features
        cross, own = form(a, b)
    return cross / own.clamp_min(eps)


def unbiased_linear_cka(
    a: Float[Tensor, "batch width_a"], b: Float[Tensor, "batch width_b"]
) -> Float[Tensor, ""]:
    """Linear CKA whose parts are unbiased: near 0 for unrelated features, at any width.

    It may leave [0, 1]. Below 8 samples it is 1 without a gradient, so that a loss 1 - CKA is 0.
    Song et al., Feature Selection via Dependence Maximization, JMLR 2012; Nguyen et al., Do Wide
    and Deep Networks Learn the Same Things?, ICLR 2021.
    """
    if len(a) < MINIMUM_ROWS:
        return at_least_float32(a).new_ones(())
    a, b = _normalised(a), _normalised(b)  # shifts cancel anyway: centred for accuracy alone
    with without_autocast(a):
        gram_a, gram_b = a @ a.T, b @ b.T
        cross = unbiased_hsic(gram_a, gram_b)
        own_a, own_b = _unbiased_norm(gram_a), _unbiased_norm(gram_b)
    # Two square roots: the product itself could leave float32's range.
    return cross / (own_a.sqrt() * own_b.sqrt())


def unbiased_hsic(
    gram_a: Float[Tensor, "batch batch"], gram_b: Float[Tensor, "batch batch"]
) -> Float[Tensor, ""]:
    """HSIC_1 of Song et al., equation 5: its mean over batches is that over all samples.

    Args:
        gram_a: Inner products of one network's features; its diagonal does not count.
        gram_b: Those of the other, same samples in the same order; at least 4.
    """
    n = len(gram_a)
    gram_a, gram_b = gram_a - gram_a.diag().diag(), gram_b - gram_b.diag().diag()
    trace = (gram_a * gram_b).sum()
    sums = gram_a.sum() * gram_b.sum() / ((n - 1) * (n - 2))
    crossed = gram_a.sum(0) @ gram_b.sum(0) * 2 / (n - 2)
    return (trace + sums - crossed) / (n * (n - 3))


def _normalised(features: Tensor) -> Tensor:
    """Centred, of norm 1; 0 where what is left of constant features is their rounding."""
    features = at_least_float32(features)
    centred = features - features.mean(0)
    norm: Tensor = matrix_norm(centred)
    constant = norm <= 1e-6 * matrix_norm(features)
    return centred.masked_fill(constant, 0) / norm.masked_fill(constant, 1)


def _by_samples(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    gram_a, gram_b = a @ a.T, b @ b.T
    return (gram_a * gram_b).sum(), matrix_norm(gram_a) * matrix_norm(gram_b)


def _by_features(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return matrix_norm(a.T @ b).square(), matrix_norm(a.T @ a) * matrix_norm(b.T @ b)


def _unbiased_norm(gram: Tensor) -> Tensor:
    """HSIC_1 with itself, kept positive: on small batches the estimate may not be."""
    floor = 1e-8 * (gram.trace() / len(gram)).square()
    return unbiased_hsic(gram, gram).maximum(floor.detach()).clamp_min(1e-24)
