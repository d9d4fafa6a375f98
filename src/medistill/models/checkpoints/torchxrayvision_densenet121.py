"""TorchXRayVision's DenseNets."""

from medistill.models.checkpoints.base import Checkpoint, Edition

# It is shown [-1024, 1024]: an image x in [0, 1] is 2048 (x - 0.5) there.
_HOUNSFIELD_LIKE = ((0.5,) * 3, (1 / 2048,) * 3)


class TorchxrayvisionDensenet121(Checkpoint):
    """DenseNet-121 of one channel, trained on chest X-rays of up to seven data sets at once.

    All seven variants (`all`, `nih`, `pc`, `chex`, `rsna`, `mimic_nb`, `mimic_ch`) have this form.
    Their files hold the pickled network rather than its tensors, and are read without running it.
    """

    aliases = ("torchxrayvision", "xrv_densenet121", "torchxrayvision_densenet")
    paper = "Cohen et al., TorchXRayVision: A library of chest X-ray datasets and models, MIDL 2022"
    licence = "Apache-2.0"
    found = (
        "github.com/mlmed/torchxrayvision/releases/tag/v1: "
        "*-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
    )
    editions = (
        Edition(
            "torchvision/densenet121",
            r"(^|\.)features\.conv0\.weight$",
            _HOUNSFIELD_LIKE,
            channels="grey",
        ),
    )
    dropped = r"(^|\.)(classifier\.|op_threshs$)"
