"""RadImageNet's DenseNet-121."""

from medistill.models.checkpoints.base import MINUS_ONE_TO_ONE, Checkpoint, Edition, numbered
from medistill.models.checkpoints.radimagenet_resnet50 import RadimagenetResnet50


class RadimagenetDensenet121(Checkpoint):
    """DenseNet-121, trained on 1.35 million CT, MR and ultrasound images of 165 findings.

    Files with torchvision's names are taken for converted ones.
    """

    paper = RadimagenetResnet50.paper
    licence = RadimagenetResnet50.licence
    found = RadimagenetResnet50.found.replace("ResNet50", "DenseNet121")
    editions = (
        Edition(
            "torchvision/densenet121",
            r"(^|\.)0\.denseblock1\.denselayer1\.norm1\.weight$",
            MINUS_ONE_TO_ONE,
            keys=numbered("features"),
            channels="bgr",
        ),
        Edition(
            "torchvision/densenet121",
            r"(^|\.)features\.denseblock1\.denselayer1\.norm1\.weight$",
            MINUS_ONE_TO_ONE,
            channels="bgr",
            own=False,
        ),
    )
    dropped = r"^$"
