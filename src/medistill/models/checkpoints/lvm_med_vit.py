"""LVM-Med's vision transformer."""

from medistill.models.checkpoints.base import IMAGENET, Checkpoint, Edition, respelt


class LvmMedVit(Checkpoint):
    """SAM's ViT-B without absolute positions, trained on 1.3 million images of 55 data sets.

    It was built for images of 1024 pixels, and its authors classify images of 224: its relative
    positions are interpolated to the size that is asked for. Each image is stretched from its
    lowest to its highest value, as its authors' loaders do; which mean and std they used after that
    is not known, and ImageNet's stand in. They have named several licences over the years, all of
    them non-commercial: read theirs before you share a student.
    """

    aliases = ("lvm_med", "lvmmed_vit", "lvm_med_vit_b")
    paper = (
        "Nguyen et al., LVM-Med: Learning Large-Scale Self-Supervised Vision Models for Medical "
        "Imaging via Second-order Graph Matching, NeurIPS 2023"
    )
    licence = "CC-BY-NC-SA-4.0"
    found = "github.com/duyhominhnguyen/LVM-Med, its link to Google Drive: lvmmed_vit.pth"
    editions = (
        Edition(
            "sam_vit/vit_b",
            r"(^|\.)blocks\.0\.attn\.rel_pos_h$",
            IMAGENET,
            stretch=True,
            keys=respelt((r"\.mlp\.fc", ".mlp.lin")),
            options={"use_abs_pos": False},
            positions=1024,
        ),
    )
    dropped = r"(^|\.)(neck|fc)\."
