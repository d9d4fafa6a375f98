"""LVM-Med's ResNet-50."""

from medistill.models.checkpoints.base import IMAGENET, Checkpoint, Edition
from medistill.models.checkpoints.lvm_med_vit import LvmMedVit


class LvmMedResnet50(Checkpoint):
    """ResNet-50, trained on 1.3 million images of 55 data sets; its keys are torchvision's.

    Each image is stretched from its lowest to its highest value, as for LVM-Med's transformer.
    """

    aliases = ("lvmmed_resnet50", "lvm_med_resnet", "lvmmed_resnet")
    paper = LvmMedVit.paper
    licence = LvmMedVit.licence
    found = "github.com/duyhominhnguyen/LVM-Med, its link to Google Drive: lvmmed_resnet.torch"
    editions = (
        Edition(
            "torchvision/resnet50",
            r"(^|\.)layer1\.0\.conv1\.weight$",
            IMAGENET,
            stretch=True,
            own=False,
        ),
    )
