"""A checkpoint is chosen by a named metric."""

import pytest

from medistill.errors import UserError
from medistill.evaluation.selection import merit

ESTIMATES = {
    "accuracy": {"value": 0.8, "low": None, "high": None},
    "brier": {"value": 0.2, "low": None, "high": None},
    "auroc": {"value": None, "low": None, "high": None},
}


def test_more_accuracy_is_better_and_more_error_is_worse():
    assert merit(ESTIMATES, "accuracy") == 0.8
    assert merit(ESTIMATES, "brier") == -0.2


def test_anything_beats_what_is_undefined():
    assert merit(ESTIMATES, "auroc") == float("-inf")


def test_an_unknown_metric_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"Unknown metric 'acuracy'\. Did you mean 'accuracy'"):
        merit(ESTIMATES, "acuracy")
