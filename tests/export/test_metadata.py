import json
from importlib.metadata import version

import pytest

from medistill.export.metadata import Metadata, Threshold

from .conftest import CLASSES, config, random_picture


def test_metadata_goes_through_json_unchanged() -> None:
    from medistill.export.profile import ImageProfile

    metadata = Metadata.of(
        config(
            threshold={"class": "normal", "value": 0.3, "sensitivity": 0.9},
            licences=["CC BY-NC-SA 4.0"],
            profile=ImageProfile.of([random_picture(20, 30)]).as_document(),
            evidence="evidence",
        )
    )

    assert Metadata.from_json(metadata.to_json()) == metadata
    assert metadata.version == version("medistill")
    assert metadata.evidence == "evidence"


def test_metadata_of_an_older_file_names_no_evidence() -> None:
    document = json.loads(Metadata.of(config()).to_json())
    del document["evidence"]
    assert Metadata.from_json(json.dumps(document)).evidence is None


def test_json_is_one_line() -> None:
    assert "\n" not in Metadata.of(config()).to_json()


@pytest.mark.parametrize("missing", ["task", "classes", "size", "backbone"])
def test_config_without_what_predict_must_know_is_an_error(missing: str) -> None:
    known = config()
    del known[missing]

    with pytest.raises(KeyError, match=missing):
        Metadata.of(known)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"classes": []}, "none"),
        ({"classes": ["a", "a"]}, "not distinct"),
        ({"temperature": -1.0}, "temperature"),
        ({"threshold": {"class": "?", "value": 0.5, "sensitivity": 0.9}}, "no class"),
    ],
)
def test_config_that_makes_no_sense_is_an_error(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Metadata.of(config(**changes))


def test_metadata_of_a_later_format_asks_for_an_upgrade() -> None:
    later = {**json.loads(Metadata.of(config()).to_json()), "format": 2, "version": "9.1"}

    with pytest.raises(ValueError, match=r"medistill 9\.1: upgrade"):
        Metadata.from_json(json.dumps(later))


def test_decision_of_two_classes_is_one_of_them() -> None:
    threshold = Threshold("ill", 0.2, 0.95)

    assert threshold.decide(["healthy", "ill"], [0.8, 0.2]) == "ill"
    assert threshold.decide(["healthy", "ill"], [0.81, 0.19]) == "healthy"


def test_decision_of_more_classes_is_the_positive_one_or_not() -> None:
    assert Threshold("normal", 0.5, 0.95).decide(CLASSES, [0.4, 0.3, 0.3]) == "not normal"
