"""What a segmenter is asked of another hospital's volumes."""

import pytest

from medistill.errors import UserError
from medistill.models.segmenters.base import Answering, build_segmenter
from medistill.runs.volumes.evaluating import _asked


@pytest.fixture
def network() -> Answering:
    options = {"widths": [4, 8], "hidden": 12, "heads": 2, "layers": 1}
    return Answering(build_segmenter("sat/unet", options, ("liver", "spleen")), ("liver", "spleen"))


def test_classes_are_asked_in_the_order_of_the_other_data(network: Answering) -> None:
    found = _asked(network, ("milt", "liver"), {"spleen": "milt"})
    assert found.classes == ("spleen", "liver")


def test_one_name_for_two_classes_is_refused(network: Answering) -> None:
    with pytest.raises(UserError, match="'organ' would be liver and spleen at once"):
        _asked(network, ("organ",), {"liver": "organ", "spleen": "organ"})
