"""What evaluation computes of several trainings, and the page of a comparison tells."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds.

    Args:
        mean: Over the seeds.
        sd: Standard deviation over the seeds; None for one seed.
        low: Lower end of the 95 % interval of the mean, for other images and other seeds.
        high: Upper end.
        seeds: How many there are.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    seeds: int
