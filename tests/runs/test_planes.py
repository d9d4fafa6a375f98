"""Scores of planes, of many and of one."""

import warnings

import torch
from hypothesis import given
from hypothesis import strategies as st

from medistill.runs import planes


class TestPlanes:
    @given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 2**16))
    def test_scores_are_shares_with_an_interval_around_them_even_of_one_plane(
        self, count: int, side: int, seed: int
    ) -> None:
        draw = torch.Generator().manual_seed(seed)
        a, b = torch.randint(3, (2, count, side, side), generator=draw)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = planes._score(a, b)
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
        assert found == planes._score(b, a)
        assert planes._score(a, a)["value"] == 1
        if count == 1:
            assert (found["low"], found["high"]) == (0, 1), "one plane says nothing of another"
