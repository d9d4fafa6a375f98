"""How gradients of several tasks become one: weights of the tasks, from inner products alone.

Each rule reads the Gram matrix `rows @ rows.T` of the gradients, one row per task, and gives the
weights whose combination `weights @ rows` is the direction. A row of zeros is a task that is absent
from the batch; it counts for nothing in any of them.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def aligned_weights(gram: Float[Tensor, "tasks tasks"]) -> Float[Tensor, " tasks"]:
    """Weights after which the principal components of the gradients are all as long as the least.

    M = VΛVᵀ, weights = √λ_min · V Λ^(-1/2) Vᵀ · 1, over the eigenvalues above rounding. They may be
    negative, and nearly equal or nearly vanishing gradients shrink them all. Their sum is as in the
    authors' code; TorchJD takes the mean.
    Senushkin et al., Independent Component Alignment for Multi-Task Learning, CVPR 2023.
    """
    values, vectors = torch.linalg.eigh(gram.double())
    kept = values > values[-1] * len(gram) * torch.finfo(gram.dtype).eps
    if not kept.any():
        return torch.ones_like(gram[0])
    values, vectors = values[kept], vectors[:, kept]
    balance: Tensor = values[0].sqrt() * (vectors / values.sqrt()) @ vectors.T
    return balance.sum(1).to(gram.dtype)


def conflict_free_weights(
    gram: Float[Tensor, "tasks tasks"], orders: Int[Tensor, "tasks tasks"]
) -> Float[Tensor, " tasks"]:
    """Weights of the sum of gradients, each of which lost what points against another.

    For each task in turn the others come in its order; where the gradient as it is by then and the
    other's own have a negative product, its projection onto the other is taken away.
    Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020.

    Args:
        gram: Of the gradients.
        orders: In each row a permutation of the tasks.
    """
    tasks = torch.arange(len(gram))
    # Row i: the i-th task's gradient, as coefficients of all gradients.
    own = torch.eye(len(gram), dtype=gram.dtype)
    for others in orders.T:
        products = (own * gram[others]).sum(1)
        against = (products < 0) & (others != tasks)
        own[tasks, others] -= torch.where(against, products / gram[others, others], 0)
    return own.sum(0)


def shortest_weights(gram: Float[Tensor, "tasks tasks"]) -> Float[Tensor, " tasks"]:
    """Weights of the shortest convex combination of the gradients, without those that vanish.

    Exact, where Frank and Wolfe's iteration of the paper only comes near: by the conditions of
    Karush, Kuhn and Tucker, if x >= 0 minimises x(M + 11ᵀ)x/2 - 1ᵀx, then x / 1ᵀx is the solution.
    Désidéri, Multiple-Gradient Descent Algorithm, Comptes Rendus 2012; Sener and Koltun, Multi-Task
    Learning as Multi-Objective Optimization, NeurIPS 2018.
    """
    there = gram.diagonal() > 0
    weights = torch.zeros_like(gram[0])
    if there.any():
        inner = gram[there][:, there].double()
        found = _non_negative(inner / inner.diagonal().mean() + 1)
        weights[there] = (found / found.sum()).to(gram.dtype)
    return weights


def onto_simplex(point: Float[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
    """The nearest point whose coordinates are not negative and sum to 1.

    Duchi et al., Efficient Projections onto the l1-Ball for Learning in High Dimensions, ICML 2008.
    """
    falling = point.sort(descending=True).values
    counts = torch.arange(1, len(point) + 1, device=point.device)
    excesses = (falling.cumsum(0) - 1) / counts
    (positive,) = (falling > excesses).nonzero(as_tuple=True)
    return (point - excesses[positive[-1]]).clamp_min(0)


def _non_negative(matrix: Tensor) -> Tensor:
    """The x >= 0 that minimises x A x / 2 - 1ᵀx, by active sets: Lawson and Hanson, 1974."""
    found = matrix.new_zeros(len(matrix))
    passive = torch.zeros(len(matrix), dtype=torch.bool)
    for _ in range(3 * len(matrix)):  # it ends by itself; rounding must not let it circle
        slopes = (1 - matrix @ found).masked_fill(passive, 0)
        if slopes.max() <= 1e-10:
            break
        passive[slopes.argmax()] = True
        wanted = _solved(matrix, passive)
        while (wanted[passive] <= 0).any():
            # Back to where the first coordinate vanishes; it leaves, and the rest is solved again.
            hit = passive & (wanted <= 0)
            steps = found[hit] / (found[hit] - wanted[hit])
            found = found + steps.min() * (wanted - found)
            passive &= found > 1e-14
            found = found * passive
            wanted = _solved(matrix, passive)
        found = wanted
    return found


def _solved(matrix: Tensor, passive: Tensor) -> Tensor:
    """The solution without bounds among the passive coordinates; the others are 0."""
    inner = matrix[passive][:, passive]
    found = matrix.new_zeros(len(matrix))
    found[passive] = torch.linalg.pinv(inner, hermitian=True).sum(1)
    return found
