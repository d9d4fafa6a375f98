"""LoRKD-Nano, decomposed from SAT-Nano."""

from medistill.models.released_segmenters.base import ReleasedSegmenter
from medistill.models.released_segmenters.sat_nano import SatNano


class LorkdNano(ReleasedSegmenter):
    """SAT's design with a U-Net of 23 million parameters, and low-rank experts for eight regions.

    Experts of different ranks, as in the file `lorkd-imbalance-nano.pth`, or of one rank.
    """

    aliases = ("sat_lorkd_nano", "lorkd_imbalance_nano")
    paper = "Li et al., LoRKD: Low-Rank Knowledge Decomposition for Medical Foundation Models, 2024"
    licence = "Apache-2.0"
    found = "github.com/tdlhl/LoRKD, its link to the checkpoints: lorkd-imbalance-nano.pth"
    segmenter = "sat/lorkd_nano"
    keys = (
        *SatNano.keys,
        (r"\.convs\.(\d+)\.conv\.", r".stages.\1.conv.conv."),
        (r"\.convs\.(\d+)\.norm\.", r".stages.\1.norm."),
    )
    twins = ((r"^unet\.", "model.module.backbone."), *SatNano.twins)
    dropped = rf"{SatNano.dropped}|\.lora_[AB]_list\.\d+$"
    regions = (
        *("abdomen", "brain", "head_neck", "lower_limb"),
        *("pelvis", "spine", "thorax", "upper_limb"),
    )
