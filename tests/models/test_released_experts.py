"""Experts of a released decomposition are found by region or place, all of them or none."""

from typing import Any

import pytest
import torch
from torch import Tensor

from medistill.errors import UserError
from medistill.models.lowrank.experts import expert
from medistill.models.released_experts import place_of, with_released_experts
from medistill.models.released_segmenters.base import ReleasedSegmenter
from medistill.models.segmenters.base import Segmenter
from tests.models.segmenters.small import CLASSES, sat

RANKS = (2, 4)


class Ours(ReleasedSegmenter):
    """A release whose keys are our own names."""

    paper, found, licence = "None", "nowhere", None
    regions = ("brain", "abdomen", "thorax")

    @classmethod
    def key(cls, name: str) -> str:
        return name


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return sat(CLASSES)


def factors(segmenter: Segmenter, ranks: tuple[int, ...] = RANKS) -> dict[str, Tensor]:
    """Random ones, of every convolution; twice the rank where its multiple is 2."""
    state: dict[str, Tensor] = {}
    for name, multiple in (segmenter.multiples or {}).items():
        conv: Any = segmenter.get_submodule(name)
        stem = name.removesuffix("conv")
        for place, rank in enumerate(ranks):
            inner = 3 * rank * multiple
            state[f"{stem}lora_A_list.{place}"] = torch.randn(inner, 9 * conv.in_channels)
            state[f"{stem}lora_B_list.{place}"] = torch.randn(3 * conv.out_channels, inner)
    return state


def test_a_region_is_a_name_for_a_place() -> None:
    assert [place_of(name, Ours, 3, "start") for name in Ours.regions] == [0, 1, 2]
    assert [place_of(place, Ours, 3, "start") for place in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("name", ["thorax", "heart", 2, -1, "1", ""])
def test_an_expert_that_the_file_lacks_is_refused_with_the_choice(name: str | int) -> None:
    told = (
        rf"teacher: there is no expert {name!r}\. Choose a place from 0 to 1, or brain, abdomen\."
    )
    with pytest.raises(UserError, match=told):
        place_of(name, Ours, 2, "teacher")


def test_experts_of_unlike_ranks_are_scaled_by_two_and_of_one_rank_by_alpha(
    segmenter: Segmenter,
) -> None:
    found = {}
    for ranks in (RANKS, (4, 4)):
        torch.manual_seed(1)
        state = factors(segmenter, ranks)
        found[ranks] = with_released_experts(Ours, segmenter, state, "start")
        assert found[ranks].ranks == list(ranks)
    assert [one.scaling.kind for one in found.values()] == ["fixed", "alpha_over_r"]


def test_the_segmenter_that_is_given_stays_as_it_is(segmenter: Segmenter) -> None:
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    whole = with_released_experts(Ours, segmenter, factors(segmenter), "start")
    assert all(torch.equal(t, before[n]) for n, t in segmenter.state_dict().items())
    # Without its experts, what was decomposed is what it was.
    shared = expert(whole, None).state_dict()
    assert all(torch.equal(tensor, shared[name]) for name, tensor in before.items())


def test_a_file_without_experts_or_without_the_first_is_told(segmenter: Segmenter) -> None:
    state = factors(segmenter)
    some = next(iter(state))
    del state[some]
    for less in ({}, state):
        with pytest.raises(UserError, match="start weights: the file has no low-rank experts"):
            with_released_experts(Ours, segmenter, less, "start")


def test_factors_of_another_rank_in_one_layer_are_told_by_their_place(segmenter: Segmenter) -> None:
    state = factors(segmenter)
    last = [name for name in state if name.endswith("lora_B_list.1")][-1]
    state[last] = state[last][:, :-1]
    with pytest.raises(UserError, match=r"expert 1 is not of rank 4 in every layer .* nothing was"):
        with_released_experts(Ours, segmenter, state, "start")
