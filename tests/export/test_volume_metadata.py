import json
from typing import Any

import pytest

from medistill.errors import UserError
from medistill.export.volume_metadata import VolumeMetadata
from medistill.export.volume_profile import ScanProfile

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


def test_file_of_a_later_version_asks_for_an_upgrade() -> None:
    document = json.loads(VolumeMetadata.of(config()).to_json()) | {"format": 2}
    with pytest.raises(ValueError, match="upgrade"):
        VolumeMetadata.from_json(json.dumps(document))
