"""CheXNet, as the reimplementation that handed out its weights."""

from medistill.models.checkpoints.base import IMAGENET, Checkpoint, Edition, respelt


class Chexnet(Checkpoint):
    """DenseNet-121, trained on 112 thousand chest X-rays of 14 findings (ChestX-ray14).

    The file comes from a torchvision that wrote `norm.1` for `norm1`. Files with the names of today
    are taken for converted ones; with the classifier of ImageNet beside them they are refused.
    """

    paper = (
        "Rajpurkar et al., CheXNet: Radiologist-Level Pneumonia Detection on Chest X-Rays with "
        "Deep Learning, arXiv 2017"
    )
    licence = None
    found = "github.com/arnoweng/CheXNet: model.pth.tar"
    editions = (
        Edition(
            "torchvision/densenet121",
            r"denselayer1\.norm\.1\.weight$",
            IMAGENET,
            keys=respelt((r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2")),
        ),
        Edition("torchvision/densenet121", r"denselayer1\.norm1\.weight$", IMAGENET, own=False),
    )
    wrappers = ("densenet121.",)
    classes = 14
