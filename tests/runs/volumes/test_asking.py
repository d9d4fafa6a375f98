"""What a segmenter is asked of another hospital's volumes."""

from pathlib import Path

import pytest

from medistill.errors import UserError
from medistill.models.segmenters.base import Answering, build_segmenter
from medistill.runs.console import Console
from medistill.runs.volumes.evaluating import (
    _asked,
    _refuse_modality,
    _warn_of_unknown_modality,
)
from medistill.scans import Preparation
from tests.data.volumes.test_opening import opened
from tests.volumes import write_pairs


def test_volumes_of_no_known_modality_are_told_of_where_the_network_knows_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(tmp_path, 4)
    rows = [f"imagesTr/case_{n}.nii.gz,labelsTr/case_{n}.nii.gz,{'ct' * (n < 2)}" for n in range(4)]
    (tmp_path / "manifest.csv").write_text("\n".join(["image,label,modality", *rows]))
    theirs = opened(tmp_path, preparation=Preparation(spacing_mm=(1.0, 1.0, 1.0)))
    _warn_of_unknown_modality(theirs, {"modalities": ["mr"]}, Console())
    assert capsys.readouterr().out == ""
    _warn_of_unknown_modality(theirs, {"modalities": ["ct", "mr"]}, Console())
    assert "2 volumes do not tell whether they are CT or MR: they count as MR" in (
        capsys.readouterr().out
    )


def test_a_word_about_volumes_that_are_known_is_refused() -> None:
    config = {"modalities": ["ct", "mr"], "preparation": {"modality": "mr"}}
    with pytest.raises(UserError, match="--modality is for --data"):
        _refuse_modality("ct", None, config)
    _refuse_modality("ct", Path("theirs"), config)
    _refuse_modality(None, None, config)
    with pytest.raises(UserError, match="--modality ct: this network was trained on MR alone"):
        _refuse_modality("ct", Path("theirs"), {"preparation": {"modality": "mr"}})


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
