"""MIG: the tests of methods.md §6, and the bins it stands on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score
from torch import Tensor
from torch.testing import assert_close

from medistill.analysis.disentanglement import (
    Disentanglement,
    equal_frequency_bins,
    informations,
    mutual_information_gap,
    principal_components,
)

SAMPLES = 4000


def noise(width: int, seed: int = 0, samples: int = SAMPLES) -> Tensor:
    return torch.randn(samples, width, generator=torch.Generator().manual_seed(seed))


def classes(count: int, samples: int = SAMPLES) -> Tensor:
    """Balanced, and in no order."""
    shuffled = torch.randperm(samples, generator=torch.Generator().manual_seed(9))
    return (torch.arange(samples) * count // samples)[shuffled]


def gap(latents: Tensor, factor: Tensor) -> Disentanglement:
    return mutual_information_gap(latents, {"class": factor}, permutations=5)


@pytest.mark.parametrize("count", [4, 5, 10, 20])
def test_one_feature_that_is_the_fact_has_all_of_the_gap(count: int) -> None:
    v = classes(count)
    told = v[:, None] + 1e-3 * noise(1)  # no ties: class blocks align with the 20 bins
    # What the noise seems to know, (bins - 1)(values - 1) / 2N nats of ln(values), is subtracted.
    assert gap(torch.cat([told, noise(6, 1)], 1), v).gap == pytest.approx(0.985, abs=0.015)


def test_classes_that_straddle_the_bins_lose_what_these_mix() -> None:
    v = classes(3)
    told = v[:, None] + 1e-3 * noise(1)
    # Two of 20 bins mix two classes at 2 : 1, and 0.1 h(1/3) / ln 3 = 0.058 is lost.
    assert gap(torch.cat([told, noise(6, 1)], 1), v).gap == pytest.approx(0.938, abs=0.005)


def test_equal_values_share_a_bin_so_that_ties_lose_nothing() -> None:
    v = classes(3)
    assert gap(torch.cat([v[:, None].float(), noise(6, 1)], 1), v).gap > 0.99


def test_two_features_that_are_the_fact_have_no_gap() -> None:
    v = classes(5)
    assert gap(torch.stack([v, 7 - 2 * v], 1).float(), v).gap == pytest.approx(0, abs=1e-3)


def test_noise_has_no_gap_beyond_chance() -> None:
    found = gap(noise(50), classes(4))
    assert found.gap == pytest.approx(0, abs=0.01)
    assert found.chance == pytest.approx(0, abs=0.01)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_monotone_maps_of_a_feature_change_nothing(seed: int) -> None:
    v = classes(4, 200)
    latents = v[:, None] + noise(3, seed, 200)
    latents[:, :2] = latents[:, :2].round(decimals=1)  # ties
    mapped = torch.stack([latents[:, 0] ** 3, latents[:, 1].exp(), 1 - 5 * latents[:, 2]], 1)
    found, expected = gap(mapped, v), gap(latents, v)
    assert (found.gap, found.chance) == pytest.approx((expected.gap, expected.chance))


def test_facts_are_averaged_and_do_not_concern_samples_marked_so() -> None:
    task, told = classes(4), classes(5)
    latents = torch.cat([task[:, None].float(), noise(4)], 1)
    within = torch.where(task == 2, told, -1)  # the class within one task
    found = mutual_information_gap(latents, {"task": task, "class": within}, permutations=3)
    assert found.by_factor["task"] > 0.97
    assert abs(found.by_factor["class"]) < 0.05  # 1000 samples of 5 classes
    assert found.gap == pytest.approx(sum(found.by_factor.values()) / 2)


def test_a_fact_with_one_value_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="task has one value"):
        mutual_information_gap(noise(3, samples=20), {"task": torch.zeros(20, dtype=torch.long)})


def test_information_is_that_of_scikit_learn() -> None:
    cut, v = equal_frequency_bins(noise(3, samples=300), 20), classes(4, 300)
    expected = [mutual_info_score(cut[:, column], v) for column in range(3)]
    assert_close(informations(cut, v), torch.tensor(expected, dtype=torch.double))


def test_bins_hold_as_many_each() -> None:
    cut = equal_frequency_bins(noise(2, samples=400), 20)
    assert all(column.bincount().tolist() == [20] * 20 for column in cut.T)


def test_components_gather_what_redundant_features_share() -> None:
    v = classes(4)
    spread = (v[:, None] + 0.01 * noise(1)) @ torch.ones(1, 30) + 0.3 * noise(30, 2)
    assert gap(spread, v).gap < 0.05
    assert gap(principal_components(spread, 10), v).gap > 0.8
