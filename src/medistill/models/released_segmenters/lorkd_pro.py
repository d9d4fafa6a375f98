"""LoRKD-Pro, decomposed from SAT-Pro."""

from medistill.models.released_segmenters.base import ReleasedSegmenter
from medistill.models.released_segmenters.lorkd_nano import LorkdNano


class LorkdPro(ReleasedSegmenter):
    """The network of SAT-Nano as a student of SAT-Pro, and low-rank experts for eight regions.

    Experts of different ranks, as in the file `lorkd-imbalance-pro.pth`, or of one rank.
    """

    aliases = ("sat_lorkd_pro", "lorkd_imbalance_pro")
    paper = LorkdNano.paper
    licence = LorkdNano.licence
    found = LorkdNano.found.replace("nano", "pro")
    segmenter = "sat/lorkd_pro"
    keys = LorkdNano.keys
    twins = LorkdNano.twins
    dropped = LorkdNano.dropped
    regions = LorkdNano.regions
