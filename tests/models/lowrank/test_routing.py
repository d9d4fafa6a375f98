"""Which samples take which expert."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medistill.models.lowrank.factors import Expert, Scaling
from medistill.models.lowrank.geometry import geometry_of
from medistill.models.lowrank.routing import Routing, Run

LAYER = geometry_of(nn.Conv2d(3, 4, 1))


def routing(*ranks: int) -> Routing:
    generator = torch.Generator().manual_seed(0)
    return Routing(
        nn.ModuleList(
            Expert([LAYER], rank=rank, scaling=Scaling(), generator=generator) for rank in ranks
        )
    )


def order(kept: Routing, *tasks: int) -> list[int]:
    return kept.order(torch.tensor(tasks)).tolist()


class TestOrder:
    def test_samples_of_a_task_stand_together_in_their_order(self) -> None:
        assert order(routing(1, 1), 1, 0, 1, 0, 1) == [1, 3, 0, 2, 4]

    def test_tasks_with_few_samples_come_first(self) -> None:
        assert order(routing(1, 1, 1), 0, 0, 0, 2, 1, 1) == [3, 4, 5, 0, 1, 2]

    def test_tasks_of_one_rank_stand_together(self) -> None:
        assert order(routing(4, 2, 4), 0, 1, 2, 2, 1) == [1, 4, 0, 2, 3]

    @given(st.lists(st.integers(0, 3), max_size=12))
    def test_an_ordered_batch_is_left_in_place(self, tasks: list[int]) -> None:
        kept = routing(2, 4, 2, 2)
        tensor = torch.tensor(tasks, dtype=torch.long)
        with kept.to(tensor[kept.order(tensor)]):
            assert kept.route.order is None


class TestRoute:
    @given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
    def test_every_sample_is_in_the_chunk_of_its_task(self, tasks: list[int]) -> None:
        kept = routing(2, 4, 2, 2)
        tensor = torch.tensor(tasks)
        ordered = tensor[kept.order(tensor)]
        with kept.to(tensor):
            teams = kept.route.teams[1]
        told = torch.full_like(ordered, -1)
        for team in teams:
            for task, samples in zip(team.tasks, team.chunks, strict=True):
                told[samples] = task
        assert torch.equal(told, ordered)

    def test_tasks_with_equally_many_samples_run_together(self) -> None:
        kept = routing(1, 1, 1, 1)
        with kept.to(torch.tensor([0, 1, 3, 3])):
            (team,) = kept.route.teams[1]
        assert team.tasks == (0, 1, 3)
        assert team.runs == (Run(tasks=2, samples=1), Run(tasks=1, samples=2))

    def test_rows_are_dealt_to_runs_by_views(self) -> None:
        kept = routing(1, 1, 1)
        with kept.to(torch.tensor([0, 1, 2, 2])):
            (team,) = kept.route.teams[1]
        rows = torch.arange(8.0).view(8, 1)
        first, second = team.rows(rows, 2)
        assert first.shape == (2, 2, 1) and second.shape == (1, 4, 1)
        assert second.data_ptr() == rows[4:].data_ptr()

    def test_only_experts_that_take_part_give_factors(self) -> None:
        kept = routing(2, 3, 4)
        with kept.to(torch.tensor([2, 0])):
            pairs = kept.route.factors[0]
        assert [a.shape for a, _ in pairs] == [(1, 2, 3), (1, 4, 3)]


class TestShares:
    @given(st.lists(st.integers(0, 3), max_size=12), st.sampled_from(["float", "long", "bool"]))
    def test_of_one_task_each_are_tasks(self, tasks: list[int], kind: str) -> None:
        kept = routing(2, 4, 2, 2)
        tensor = torch.tensor(tasks, dtype=torch.long)
        with kept.to(tensor):
            plain = kept.route
        with kept.to(getattr(nn.functional.one_hot(tensor, 4), kind)()):
            assert kept.route.shares is None
            assert kept.route.teams == plain.teams
            assert (kept.route.order is None) == (plain.order is None)

    @pytest.mark.parametrize(
        "shares", [[[0.5, 0.5]], [[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0]], [[2.0, -1.0]]]
    )
    def test_of_several_or_none_are_a_mixture(self, shares: list[list[float]]) -> None:
        kept = routing(2, 2)
        with kept.to(torch.tensor(shares)):
            assert torch.equal(kept.route.shares, torch.tensor(shares))

    def test_that_learn_stay_a_mixture(self) -> None:
        kept, shares = routing(2, 2), torch.eye(2, requires_grad=True)
        with kept.to(shares):
            assert kept.route.shares is shares


class TestContext:
    def test_outside_of_it_there_is_no_route(self) -> None:
        kept = routing(1)
        with kept.to(torch.tensor([0])):
            pass
        with pytest.raises(RuntimeError, match=r"with routing\.to\(tasks\)"):
            _ = kept.route

    def test_an_error_inside_leaves_none_behind(self) -> None:
        kept = routing(1)
        with pytest.raises(KeyError), kept.to(None):
            raise KeyError
        with pytest.raises(RuntimeError):
            _ = kept.route

    def test_an_inner_one_gives_way_to_the_outer_one(self) -> None:
        kept = routing(1)
        with kept.to(torch.tensor([0])):
            with kept.to(None):
                assert kept.route is None
            assert kept.route is not None

    def test_a_task_without_expert_is_named(self) -> None:
        with pytest.raises(ValueError, match="There are 2 experts, but the batch holds task 5"):
            order(routing(1, 1), 0, 5)

    def test_shares_must_be_of_all_experts(self) -> None:
        with pytest.raises(ValueError, match="3 shares a sample for 2 experts"):
            routing(1, 1).to(torch.ones(4, 3)).__enter__()

    def test_a_copy_is_a_routing_of_its_own(self) -> None:
        kept = routing(1)
        other = copy.deepcopy(kept)
        with kept.to(None), pytest.raises(RuntimeError):
            _ = other.route
