"""Overlap of masks, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medistill.evaluation.metrics.overlap import dice

MASKS = arrays(bool, (2, 3, 2))


def mask(*places):
    found = np.zeros(8, bool)
    found[list(places)] = True
    return found.reshape(2, 2, 2)


class TestByHand:
    def test_half_of_each_shared_is_a_half(self):
        assert dice(mask(0, 1), mask(1, 2)) == 0.5

    def test_finding_a_third_of_three_and_nothing_else_is_a_half(self):
        assert dice(mask(0), mask(0, 1, 2)) == 0.5

    def test_nothing_to_find_is_right_if_nothing_is_found(self):
        assert dice(mask(), mask()) == 1
        assert dice(mask(0), mask()) == 0
        assert dice(mask(), mask(0)) == 0


class TestLaws:
    @given(MASKS, MASKS)
    def test_either_may_be_the_truth(self, one, other):
        assert dice(one, other) == dice(other, one)

    @given(MASKS)
    def test_a_mask_is_its_own_best_prediction(self, one):
        assert dice(one, one) == 1

    @given(MASKS, MASKS, st.sampled_from([(1, 2, 0), (2, 0, 1), (1, 0, 2)]))
    def test_axes_have_no_order(self, one, other, axes):
        assert dice(one.transpose(axes), other.transpose(axes)) == pytest.approx(dice(one, other))
