"""SAT-Pro."""

from medistill.models.released_segmenters.base import ReleasedSegmenter
from medistill.models.released_segmenters.sat_nano import SatNano


class SatPro(ReleasedSegmenter):
    """SAT with a U-Net of 435 million parameters: three convolutions in each stage, twice as wide.

    It was shown what SAT-Nano was shown.
    """

    paper = SatNano.paper
    licence = SatNano.licence
    found = SatNano.found.replace("Nano/nano.pth", "Pro/SAT_Pro.pth")
    segmenter = "sat/pro"
    keys = SatNano.keys
    twins = SatNano.twins
    dropped = SatNano.dropped
