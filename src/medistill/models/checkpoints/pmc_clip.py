"""PMC-CLIP's image tower."""

from medistill.models.checkpoints.base import CLIP, Checkpoint, Edition, respelt

_KEYS = respelt(
    (r"^stem\.conv(\d)\.conv\.", r"conv\1."),
    (r"^stem\.conv(\d)\.bn\.", r"bn\1."),
    *((rf"^stages\.{stage}\.", f"layer{stage + 1}.") for stage in range(4)),
    (r"\.conv(\d)_\w+\.conv\.", r".conv\1."),
    (r"\.conv(\d)_\w+\.bn\.", r".bn\1."),
    (r"\.shortcut\.conv\.conv\.", ".downsample.0."),
    (r"\.shortcut\.conv\.bn\.", ".downsample.1."),
)


class PmcClip(Checkpoint):
    """CLIP's modified ResNet-50, trained on 1.6 million figures of papers with their captions.

    Its last map is read before CLIP's attention pooling, which is left out with the text tower.
    """

    aliases = ("pmcclip",)
    paper = (
        "Lin et al., PMC-CLIP: Contrastive Language-Image Pre-training using Biomedical "
        "Documents, MICCAI 2023"
    )
    licence = "MIT"
    found = "huggingface.co/datasets/axiong/pmc_oa: checkpoint.pt or 'image_encoder(resnet50).pth'"
    editions = (
        Edition("timm/resnet50_clip", r"^([a-z_]+\.)*bn3\.weight$", CLIP, keys=_KEYS),
    )  # fmt: skip
    dropped = (
        r"(^|\.)(attnpool|text_encoder|ln_final|fusion_module)\."
        r"|(^|\.)(positional_embedding|(text|mlm)_projection|logit_scale|img_special_token)$"
    )
