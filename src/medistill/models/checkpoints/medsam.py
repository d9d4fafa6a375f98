"""MedSAM's image encoder."""

from medistill.models.checkpoints.base import Checkpoint, Edition, respelt


class Medsam(Checkpoint):
    """SAM's ViT-B, trained on 1.5 million images with masks of ten modalities.

    It was shown images of 1024 pixels, which take a processor seconds each; with a smaller `size`
    its positions are interpolated. Each image is stretched to [0, 1] and normalised no further.
    """

    aliases = ("medsam_vit_b", "med_sam")
    paper = "Ma et al., Segment anything in medical images, Nature Communications 2024"
    licence = "Apache-2.0"
    found = "github.com/bowang-lab/MedSAM, its link to Google Drive: medsam_vit_b.pth"
    size = 1024
    editions = (
        Edition(
            "sam_vit/vit_b",
            r"(^|\.)pos_embed$",
            ((0.0,) * 3, (1.0,) * 3),
            stretch=True,
            keys=respelt((r"\.mlp\.fc", ".mlp.lin")),
            positions=1024,
        ),
    )
    dropped = r"(^|\.)(neck|prompt_encoder|mask_decoder)\.|(^|\.)pixel_(mean|std)$"
