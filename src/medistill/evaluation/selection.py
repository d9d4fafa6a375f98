"""Which of two measurements is better: how a checkpoint is chosen on validation."""

from collections.abc import Mapping
from difflib import get_close_matches

from medistill.errors import UserError
from medistill.results import Estimate

LOWER_IS_BETTER = frozenset(
    {"expected_calibration_error", "negative_log_likelihood", "brier", "hd95_mm"}
)


def merit(estimates: Mapping[str, Estimate], metric: str) -> float:
    """A number that grows as the named metric gets better; minus infinity where it is undefined.

    Raises:
        UserError: No metric has this name.
    """
    if metric not in estimates:
        close = get_close_matches(metric, estimates, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"Unknown metric {metric!r}.{hint} Available: {', '.join(estimates)}.")
    value = estimates[metric]["value"]
    if value is None:
        return float("-inf")
    # A metric of one class is as good as its name: hd95_mm/liver.
    return -value if metric.partition("/")[0] in LOWER_IS_BETTER else value
