import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medistill.errors import UserError
from medistill.export.volume_metadata import VolumeMetadata
from medistill.export.volume_profile import ScanProfile
from medistill.scans import Scan, UnreadableScan

from .outlining import config


def test_text_gives_the_same_metadata() -> None:
    profile = ScanProfile({"lowest value": (0.0, 1.0), "highest value": (2.0, 3.0)})
    metadata = VolumeMetadata.of(config(overlap=0.25, threshold=0.4, profile=profile.as_document()))

    assert VolumeMetadata.from_json(metadata.to_json()) == metadata
    assert metadata.profile == profile
    assert (metadata.overlap, metadata.threshold) == (0.25, 0.4)
    assert metadata.preparation.spacing_mm == (1.0, 2.0, 3.0)
    assert metadata.licences == ("CC-BY-4.0",)


def test_without_a_word_windows_overlap_by_half_and_half_is_the_threshold() -> None:
    metadata = VolumeMetadata.of(config())
    assert (metadata.overlap, metadata.threshold, metadata.profile) == (0.5, 0.5, None)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"classes": []}, ValueError, "are none"),
        ({"classes": ["a", "a"]}, ValueError, "not distinct"),
        ({"patch": [8, 8]}, ValueError, "unpack"),
        ({"patch": [8, 0, 8]}, ValueError, "without a voxel"),
        ({"preparation": {"spacing_mm": [1.0, 1.0, 0.0]}}, UserError, "three distances"),
    ],
)
def test_values_that_make_no_sense_are_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        VolumeMetadata.of(config(**changes))


def scan_of(modality: str) -> Scan:
    return Scan(np.zeros((2, 2, 2), np.float32), np.eye(4), modality=modality)


def test_a_scan_is_prepared_by_the_modality_that_it_or_a_person_tells() -> None:
    both = VolumeMetadata.of(config(modalities=["ct", "mr"]))
    assert VolumeMetadata.from_json(both.to_json()) == both
    assert both.preparation.modality == "mr"  # of most training scans
    for told, wanted in {"CT": "ct", "MR": "mr", "PT": "mr"}.items():
        assert both.preparation_of(scan_of(told)).modality == wanted
    ct = replace(both.preparation, modality="ct")
    assert both.preparation_of(scan_of(""), "ct") == ct
    assert both.preparation_of(scan_of("MR"), "ct") == ct


def test_where_nothing_tells_the_modality_of_a_scan_the_option_is_named() -> None:
    both = VolumeMetadata.of(config(modalities=["ct", "mr"]))
    with pytest.raises(UnreadableScan, match=r"CT and MR were trained on.*--modality ct or mr"):
        both.preparation_of(scan_of(""))


def test_a_network_of_one_modality_prepares_every_scan_alike() -> None:
    one = VolumeMetadata.of(config())
    assert one.trained_on == ("mr",)
    assert {one.preparation_of(scan_of(told)) for told in ("", "CT", "MR")} == {one.preparation}
    with pytest.raises(UserError, match="--modality ct: this network was trained on MR alone"):
        one.preparation_of(scan_of(""), "ct")


def test_file_of_a_later_version_asks_for_an_upgrade() -> None:
    document = json.loads(VolumeMetadata.of(config()).to_json()) | {"format": 2}
    with pytest.raises(ValueError, match="upgrade"):
        VolumeMetadata.from_json(json.dumps(document))
