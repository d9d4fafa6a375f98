"""SAT-Nano."""

from medistill.models.released_segmenters.base import ReleasedSegmenter


class SatNano(ReleasedSegmenter):
    """SAT with a U-Net of 74 million parameters, trained on 22 thousand scans of 497 classes.

    It was shown volumes in RAS, of 1 x 1 x 3 mm, cropped to the foreground, in patches of
    288 x 288 x 96 voxels.
    """

    aliases = ("sat",)
    paper = (
        "Zhao et al., Large-Vocabulary Segmentation for Medical Images with Text Prompts, npj "
        "Digital Medicine 2025"
    )
    licence = None
    found = "huggingface.co/zzh99/SAT: Nano/nano.pth"
    segmenter = "sat/nano"
    keys = (
        (r"^unet\.encoder\.(\d+)\.(\d+)\.", r"backbone.encoder.stages.\1.0.convs.\2."),
        (r"^unet\.decoder\.(\d+)\.(\d+)\.", r"backbone.decoder.stages.\1.convs.\2."),
        (r"^unet\.ups\.", "backbone.decoder.transpconvs."),
        (r"^embedding\.project\.", "projection_layer."),
        (r"^query_decoder\.", "transformer_decoder."),
        (r"\.attention\.", ".multihead_attn."),
        (r"^mask_embedding\.", "mask_embed_proj."),
    )
    twins = (
        (r"\.decoder\.encoder\.", ".encoder."),
        (r"\.all_modules\.0\.", ".conv."),
        (r"\.all_modules\.1\.", ".norm."),
    )
    # Heads of its deep supervision, at coarser scales.
    dropped = r"(^|\.)mid_mask_embed_proj\.|\.decoder\.seg_layers\."
