"""Ranks of experts: methods.md §4.4, 4.5."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medistill.methods._objectives import Judged
from medistill.methods._ranks import Experts, LossRecord, allocated

ROUNDINGS = st.sampled_from(["nearest_even", "floor_even"])
REDUCTIONS = st.lists(st.floats(0.01, 10), min_size=1, max_size=8)


def noted(record: LossRecord, each: list[float], experts: list[int]) -> None:
    """One step in which these experts had a sample each."""
    places = torch.tensor(experts)
    record.add(Judged(torch.tensor(each), torch.ones(len(each)), places), places)


class TestAllocation:
    @given(
        rank=st.sampled_from([2, 4, 8, 16]),
        count=st.integers(1, 12),
        fell=st.floats(0.01, 10),
        rounding=ROUNDINGS,
    )
    def test_equal_reductions_leave_the_rank(self, rank, count, fell, rounding) -> None:
        assert allocated([fell] * count, rank, rounding=rounding) == [rank] * count

    def test_it_grows_with_the_square(self) -> None:
        assert allocated([1.0, 2.0, 3.0], 8) == [2, 8, 18]

    def test_a_tie_goes_up_or_all_goes_down(self) -> None:
        # 12 (1/2)² = 3 lies between 2 and 4, and 12 (3/2)² = 27 between 26 and 28.
        assert allocated([1.0, 3.0], 12) == [4, 28]
        assert allocated([1.0, 3.0], 12, rounding="floor_even") == [2, 26]

    @given(
        reductions=REDUCTIONS,
        factor=st.sampled_from([0.25, 4.0, 1024.0]),
        rounding=ROUNDINGS,
    )
    def test_the_unit_of_the_loss_does_not_matter(self, reductions, factor, rounding) -> None:
        larger = allocated([factor * fell for fell in reductions], 8, rounding=rounding)
        assert larger == allocated(reductions, 8, rounding=rounding)

    @given(
        reductions=st.lists(st.floats(-5, 5) | st.none(), min_size=1, max_size=8),
        rounding=ROUNDINGS,
    )
    def test_ranks_are_even_and_at_least_2(self, reductions, rounding) -> None:
        ranks = allocated(reductions, 8, rounding=rounding)
        assert all(rank % 2 == 0 and rank >= 2 for rank in ranks)

    def test_a_loss_that_grew_is_not_rewarded(self) -> None:
        assert allocated([-3.0, 1.0, 1.0], 8) == [2, 18, 18]

    def test_where_no_loss_fell_ranks_stay(self) -> None:
        assert allocated([-1.0, 0.0], 6) == [6, 6]

    def test_an_expert_without_labels_keeps_its_rank(self) -> None:
        assert allocated([1.0, None, 3.0], 8) == [2, 8, 18]

    def test_bounds_bind(self) -> None:
        assert allocated([1.0, 2.0, 3.0], 8, min_rank=4, max_rank=16) == [4, 8, 16]

    def test_odd_bounds_bind_at_the_even_number_within(self) -> None:
        assert allocated([1.0, 2.0, 3.0], 8, min_rank=3, max_rank=7) == [4, 6, 6]

    @pytest.mark.parametrize(
        "released", [(12, 10, 10, 4, 8, 8, 12, 2), (4, 4, 4, 4, 4, 16, 12, 12)]
    )
    def test_rounding_down_can_give_what_the_authors_released(self, released) -> None:
        # Reductions that sit inside the released numbers' intervals, with a mean of 1.
        low = [(rank / 8) ** 0.5 for rank in released]
        high = [((rank + 2) / 8) ** 0.5 for rank in released]
        share = (len(released) - sum(low)) / (sum(high) - sum(low))
        assert 0 < share < 1
        reductions = [a + share * (b - a) for a, b in zip(low, high, strict=True)]
        assert allocated(reductions, 8, rounding="floor_even") == list(released)

    def test_settings_say_which(self) -> None:
        experts = Experts(rank=8, rounding="floor_even", min_rank=4, max_rank=16)
        assert experts.allocated([1.0, 2.0, 3.0]) == [4, 8, 16]


class TestRecord:
    def test_the_last_steps_are_taken_from_the_first(self) -> None:
        record = LossRecord(1, open=True)
        for step in range(40):
            noted(record, [float(40 - step)], [0])
        # 5 % are two steps: (40 + 39) / 2 less (2 + 1) / 2.
        assert record.close() == [38.0]

    def test_a_step_counts_for_the_experts_that_it_had_alone(self) -> None:
        record = LossRecord(3, open=True)
        noted(record, [4.0, 9.0, 7.0], [0, 1, 1])
        noted(record, [3.0], [0])
        noted(record, [2.0], [1])
        assert record.close() == [1.0, 6.0, None]

    def test_weights_count(self) -> None:
        record = LossRecord(1, open=True)
        places = torch.zeros(2, dtype=torch.long)
        record.add(Judged(torch.tensor([1.0, 9.0]), torch.tensor([1.0, 0.0]), places), places)
        noted(record, [0.25], [0])
        assert record.close() == [0.75]

    def test_it_is_read_once(self) -> None:
        record = LossRecord(1, open=True)
        noted(record, [2.0], [0])
        record.close()
        noted(record, [1.0], [0])
        assert not record.open
        assert record.close() == [None]

    def test_it_travels_with_a_state(self) -> None:
        record, other = LossRecord(2, open=True), LossRecord(2, open=True)
        noted(record, [5.0], [0])
        other.load_state_dict(record.state_dict())
        for each in (record, other):
            noted(each, [3.0, 1.0], [0, 1])
        assert record.close() == other.close() == [2.0, 0.0]
