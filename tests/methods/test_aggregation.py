"""How gradients become one: methods.md §5, and torchjd as an independent implementation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchjd.aggregation import MGDA, AlignedMTL, PCGrad

from medistill.methods._aggregation import (
    aligned_weights,
    conflict_free_weights,
    onto_simplex,
    shortest_weights,
)

seeds = given(seed=st.integers(0, 10_000), tasks=st.integers(1, 7))


def gradients(seed: int, tasks: int, width: int = 9, shared: float = 0.5) -> Tensor:
    """Rows of different lengths, which agree in part."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(tasks, width, generator=generator, dtype=torch.float64)
    lengths = torch.rand(tasks, 1, generator=generator, dtype=torch.float64) * 3 + 0.1
    return lengths * (rows + shared * torch.randn(width, generator=generator))


def gram(rows: Tensor) -> Tensor:
    return rows @ rows.T


class TestAligned:
    @settings(max_examples=30, deadline=None)
    @seeds
    def test_it_is_torchjds_mean_times_the_number_of_tasks(self, seed: int, tasks: int) -> None:
        rows = gradients(seed, tasks)
        assert_close(aligned_weights(gram(rows)) @ rows, tasks * AlignedMTL()(rows))

    @settings(max_examples=30, deadline=None)
    @seeds
    def test_the_sum_of_orthogonal_rows_of_one_length_is_that_long(
        self, seed: int, tasks: int
    ) -> None:
        rows = gradients(seed, tasks)
        least = torch.linalg.eigvalsh(gram(rows))[0]
        direction = aligned_weights(gram(rows)) @ rows
        assert_close(direction.square().sum(), tasks * least)

    def test_a_task_that_is_absent_changes_nothing(self) -> None:
        rows = gradients(3, 3)
        with_absent = torch.cat([rows[:1], torch.zeros(1, 9), rows[1:]])
        expected = aligned_weights(gram(rows)) @ rows
        assert_close(aligned_weights(gram(with_absent)) @ with_absent, expected)

    def test_exact_copies_are_dropped_and_not_shrunk_to_nothing(self) -> None:
        rows = gradients(3, 2)
        direction = aligned_weights(gram(torch.cat([rows, rows]))) @ torch.cat([rows, rows])
        assert direction.norm() > 0.1 * rows.norm(dim=1).min()

    def test_without_any_gradient_nothing_moves(self) -> None:
        assert aligned_weights(torch.zeros(3, 3)).isfinite().all()


class TestConflictFree:
    @settings(max_examples=30, deadline=None)
    @seeds
    def test_it_equals_projecting_the_gradients_one_by_one(self, seed: int, tasks: int) -> None:
        rows = gradients(seed, tasks, shared=0.0)
        generator = torch.Generator().manual_seed(seed)
        orders = torch.stack([torch.randperm(tasks, generator=generator) for _ in rows])
        expected = torch.zeros_like(rows[0])
        for task in range(tasks):
            own = rows[task].clone()
            for other in orders[task].tolist():
                if other != task and (product := own @ rows[other]) < 0:
                    own -= product / rows[other].square().sum() * rows[other]
            expected += own
        assert_close(conflict_free_weights(gram(rows), orders) @ rows, expected)

    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 10_000))
    def test_of_two_tasks_it_is_torchjds_and_neither_loses(self, seed: int) -> None:
        rows = gradients(seed, 2, shared=0.0)
        direction = conflict_free_weights(gram(rows), torch.tensor([[0, 1], [1, 0]])) @ rows
        assert_close(direction, PCGrad()(rows))
        assert (rows @ direction >= -1e-9).all()

    def test_a_task_that_is_absent_changes_nothing(self) -> None:
        rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 1.0]])
        weights = conflict_free_weights(gram(rows), torch.arange(3).expand(3, 3))
        assert_close(weights @ rows, torch.tensor([0.5, 0.5]) + torch.tensor([0.0, 1.0]))


class TestShortest:
    @settings(max_examples=50, deadline=None)
    @seeds
    def test_no_gradient_points_back_from_it(self, seed: int, tasks: int) -> None:
        rows = gradients(seed, tasks, width=4)
        weights = shortest_weights(gram(rows))
        point = weights @ rows
        # The nearest point of a convex hull: every row lies beyond it, the used ones level with it.
        beyond = rows @ point - point.square().sum()
        size = gram(rows).diagonal().max()
        assert_close(weights.sum().item(), 1.0)
        assert (weights >= 0).all() and (beyond >= -1e-8 * size).all()
        assert (beyond[weights > 1e-9].abs() <= 1e-8 * size).all()

    @settings(max_examples=20, deadline=None)
    @seeds
    def test_torchjds_iteration_comes_near_it_and_never_below(self, seed: int, tasks: int) -> None:
        rows = gradients(seed, tasks)
        ours, theirs = (shortest_weights(gram(rows)) @ rows).norm(), MGDA()(rows).norm()
        # Frank and Wolfe's 100 steps stop some per cent above.
        assert ours <= theirs + 1e-9 and theirs - ours <= 0.1 * rows.norm(dim=1).max()

    def test_a_task_that_is_absent_is_left_out(self) -> None:
        rows = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
        assert_close(shortest_weights(gram(rows)), torch.tensor([0.2, 0.0, 0.8]))

    def test_opposite_gradients_meet_where_nothing_moves(self) -> None:
        rows = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
        assert_close(shortest_weights(gram(rows)), torch.tensor([0.75, 0.25]))

    def test_copies_and_a_batch_without_any_gradient_are_no_surprise(self) -> None:
        assert_close(shortest_weights(torch.ones(4, 4)).sum().item(), 1.0)
        assert not shortest_weights(torch.zeros(3, 3)).any()

    @pytest.mark.parametrize("scale", [1e-12, 1e12])
    def test_the_scale_of_the_gradients_does_not_matter(self, scale: float) -> None:
        rows = gradients(5, 5)
        assert_close(shortest_weights(gram(scale * rows)), shortest_weights(gram(rows)))


class TestSimplex:
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
    def test_no_corner_is_nearer_in_its_direction(self, numbers: list[float]) -> None:
        point = torch.tensor(numbers, dtype=torch.float64)
        found = onto_simplex(point)
        assert_close(found.sum().item(), 1.0)
        assert (found >= 0).all()
        # Of a projection onto a convex set: what is left over points away from all of the set.
        left = point - found
        assert (left - left @ found <= 1e-9).all()

    def test_what_lies_in_it_stays(self) -> None:
        assert_close(onto_simplex(torch.tensor([0.2, 0.5, 0.3])), torch.tensor([0.2, 0.5, 0.3]))
