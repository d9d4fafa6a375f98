"""RadImageNet's InceptionV3."""

from medistill.models.checkpoints.base import MINUS_ONE_TO_ONE, Checkpoint, Edition, numbered
from medistill.models.checkpoints.radimagenet_resnet50 import RadimagenetResnet50

_STEM = (
    "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1",
    "Conv2d_4a_3x3", "maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b",
    "Mixed_6c", "Mixed_6d", "Mixed_6e",
)  # fmt: skip
_LAST = ("Mixed_7a", "Mixed_7b", "Mixed_7c")


class RadimagenetInceptionv3(Checkpoint):
    """InceptionV3, trained on 1.35 million CT, MR and ultrasound images of 165 findings.

    Its auxiliary classifier is left out; where a file has one, it stands before the last stage and
    shifts the numbers of what follows.
    """

    aliases = ("radimagenet_inception_v3",)
    paper = RadimagenetResnet50.paper
    licence = RadimagenetResnet50.licence
    found = RadimagenetResnet50.found.replace("ResNet50", "InceptionV3")
    editions = (
        Edition(
            "torchvision/inception_v3",
            r"(^|\.)15\.branch3x3dbl_1\.conv\.weight$",
            MINUS_ONE_TO_ONE,
            keys=numbered(*_STEM, *_LAST),
            channels="bgr",
        ),
        Edition(
            "torchvision/inception_v3",
            r"(^|\.)15\.conv0\.conv\.weight$",
            MINUS_ONE_TO_ONE,
            keys=numbered(*_STEM, "AuxLogits", *_LAST),
            channels="bgr",
        ),
    )
    dropped = r"(^|\.)15\.(conv0|conv1|fc)\."
