"""RadImageNet's ResNet-50, as its authors publish it and as a well-known port does."""

from medistill.models.checkpoints.base import MINUS_ONE_TO_ONE, Checkpoint, Edition, numbered

_CHILDREN = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
_KERAS = ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1.0, 1.0, 1.0))  # mean alone is subtracted


class RadimagenetResnet50(Checkpoint):
    """ResNet-50, trained on 1.35 million CT, MR and ultrasound images of 165 findings.

    The port `Warvito/radimagenet-models` holds the weights of Keras in Keras' own network, which is
    built for it. Files with torchvision's names are taken for converted ones; with a classifier of
    ImageNet beside them they are refused.
    """

    aliases = ("radimagenet",)
    paper = (
        "Mei et al., RadImageNet: An Open Radiologic Deep Learning Research Dataset for Effective "
        "Transfer Learning, Radiology: Artificial Intelligence 2022"
    )
    licence = None  # MIT is said of the code alone
    found = (
        "github.com/BMEII-AI/RadImageNet, its link to Google Drive: RadImageNet_pytorch/ResNet50.pt"
    )
    editions = (
        Edition(
            "torchvision/resnet50",
            r"(^|\.)4\.0\.conv1\.weight$",
            MINUS_ONE_TO_ONE,
            keys=numbered(*_CHILDREN),
            channels="bgr",
        ),
        Edition(
            "keras_resnet/resnet50", r"layer1\.0\.conv1\.bias$", _KERAS, channels="bgr"
        ),
        Edition(
            "torchvision/resnet50",
            r"layer1\.0\.conv1\.weight$",
            MINUS_ONE_TO_ONE,
            channels="bgr",
            own=False,
        ),
    )  # fmt: skip
    dropped = r"^$"
