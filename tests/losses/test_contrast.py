"""The noise-contrastive estimate of CRD: methods.md §2.6."""

import torch
from torch import Tensor
from torch.testing import assert_close

from medistill.losses.contrast import noise_contrast


def draw(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def naive(pair: Tensor, scores: Tensor, noise: Tensor, samples: int) -> float:
    """The paper's formula of one anchor, with h and the chance 1/N of a sample of noise."""
    h, chance = scores.exp() / samples, 1 / samples
    m = int(noise.sum())
    found = torch.log(pair.exp() / samples / (pair.exp() / samples + m * chance))
    for j in noise.nonzero().flatten():
        found = found + torch.log(m * chance / (h[j] + m * chance))
    return -found.item()


def test_it_is_the_formula_whatever_the_number_of_samples() -> None:
    pairs, scores = draw(0, 4), draw(1, 4, 9)
    noise = torch.rand(4, 9) < 0.6
    found = noise_contrast(pairs, scores, noise)
    for samples in (9, 1000):
        rows = zip(pairs, scores, noise, strict=True)
        expected = [naive(*row, samples) for row in rows]
        assert_close(found, torch.tensor(expected).double())


def test_it_falls_as_the_pair_comes_closer_and_rises_with_the_noise() -> None:
    pairs, scores = torch.linspace(-5, 5, 11), torch.zeros(11, 3)
    noise = torch.ones(11, 3, dtype=torch.bool)
    assert (noise_contrast(pairs, scores, noise).diff() < 0).all()
    assert (noise_contrast(torch.zeros(11), scores + pairs[:, None], noise).diff() > 0).all()


def test_both_of_its_terms_are_logarithms_of_chances() -> None:
    far, near = torch.full((5,), -1e4), torch.full((5,), 1e4)
    noise = torch.ones(5, 3, dtype=torch.bool)
    scores = draw(0, 5, 3).float()
    assert (noise_contrast(near, scores, noise) >= 0).all()  # what is left is the noise's
    assert (noise_contrast(draw(1, 5).float(), far[:, None].expand(5, 3), noise) >= 0).all()


def test_rows_that_are_no_noise_change_nothing_and_learn_nothing() -> None:
    pairs, scores = draw(0, 4), draw(1, 4, 9).requires_grad_()
    noise = torch.rand(4, 9) < 0.5
    found = noise_contrast(pairs, scores, noise)
    found.sum().backward()
    assert not scores.grad[~noise].any() and scores.grad[noise].all()
    assert_close(noise_contrast(pairs, scores.masked_fill(~noise, 80.0), noise), found)


def test_an_anchor_without_noise_has_no_loss_and_no_gradient() -> None:
    pairs, scores = draw(0, 2).requires_grad_(), draw(1, 2, 3).requires_grad_()
    found = noise_contrast(pairs, scores, torch.zeros(2, 3, dtype=torch.bool))
    found.sum().backward()
    assert not found.any() and not pairs.grad.any() and not scores.grad.any()
