"""RAD-DINO."""

from medistill.models.checkpoints.base import Checkpoint, Edition, respelt

_GREY = ((0.5307,) * 3, (0.2583,) * 3)
_TRANSFORMERS = respelt(
    (r"^(cls_token)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
)


def _split(name: str) -> str | tuple[str, ...]:
    """In transformers, queries, keys and values have weights of their own."""
    block, found, kind = _TRANSFORMERS(name).partition(".attn.qkv.")
    parts = ("query", "key", "value")
    return tuple(f"{block}.attention.attention.{p}.{kind}" for p in parts) if found else block


class RadDino(Checkpoint):
    """DINOv2's ViT-B/14, trained on 882 thousand chest X-rays without labels or reports."""

    aliases = ("raddino",)
    paper = (
        "Pérez-García et al., Exploring scalable medical image encoders beyond text supervision, "
        "Nature Machine Intelligence 2025"
    )
    licence = "MIT"
    found = "huggingface.co/microsoft/rad-dino: backbone_compatible.safetensors, model.safetensors"
    size = 518
    editions = (
        Edition(
            "timm/vit_base_patch14_dinov2",
            r"(^|\.)blocks\.0\.ls1\.gamma$",
            _GREY,
            positions=518,
        ),
        Edition(
            "timm/vit_base_patch14_dinov2",
            r"(^|\.)encoder\.layer\.0\.layer_scale1\.lambda1$",
            _GREY,
            keys=_split,
            positions=518,
        ),
    )  # fmt: skip
    dropped = r"(^|\.)(mask_token$|head\.|classifier\.)"
