"""BiomedCLIP's image tower."""

from medistill.models.checkpoints.base import CLIP, Checkpoint, Edition


class Biomedclip(Checkpoint):
    """ViT-B/16, trained on 15 million figures of papers with their captions.

    The text tower is left out, so that neither open_clip nor its language model is needed.
    """

    aliases = ("biomed_clip",)
    paper = (
        "Zhang et al., BiomedCLIP: a multimodal biomedical foundation model pretrained from "
        "fifteen million scientific image-text pairs, arXiv 2023"
    )
    licence = "MIT"
    found = (
        "huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224: "
        "open_clip_pytorch_model.bin"
    )
    editions = (
        Edition(
            "timm/vit_base_patch16_224",
            r"visual\.trunk\.blocks\.0\.attn\.qkv\.weight$",
            CLIP,
            positions=224,
        ),
    )
    dropped = r"(^|\.)(visual\.head|text)\.|logit_scale$|position_ids$"
