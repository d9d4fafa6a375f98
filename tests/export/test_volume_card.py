"""The card of a segmentation network: how a scan is prepared, and what its numbers hide."""

from typing import Any

import pytest

from medistill.export.card import model_card

from .test_card import RECIPE, facts, front_matter

PREPARATION = {
    "spacing_mm": [1.0, 1.0, 3.0], "orientation": "RAS", "modality": "ct", "crop": True,
    "window_hu": [-500, 1000], "percentiles": [0.5, 99.5],
}  # fmt: skip


def config(**changes: Any) -> dict[str, Any]:
    known = {
        "kind": "segmentation", "task": "abdomen", "classes": ["liver", "spleen"],
        "patch": [96, 96, 48], "preparation": PREPARATION,
        "volumes": {"train": 60, "validation": 10, "test": 12},
        "segmenter": {"name": "sat/unet", "options": {}},
    }  # fmt: skip
    return known | changes


def card(**changes: Any) -> str:
    metrics = {"test": {"abdomen": {"dice": {"value": 0.912, "low": 0.89, "high": 0.93}}}}
    recipe = {**RECIPE, "student": {"name": "sat/unet"}}
    cost = {"student": {"parameters": 1e6, "macs": 4e9, "seconds_a_volume": 2.125}}
    known = facts(recipe=recipe, metrics=metrics, cost=cost, tasks={"abdomen": config(**changes)})
    return model_card(known)


def test_hubs_read_that_it_segments() -> None:
    found = front_matter(card())
    assert found["pipeline_tag"] == "image-segmentation"
    assert found["metrics"] == ["dice"]


@pytest.mark.parametrize(
    "words",
    [
        "- `abdomen`: liver, spleen",
        "| volumes | train | validation | test |",
        "| abdomen | 60 | 10 | 12 |",
        "| abdomen | 1 x 1 x 3 | RAS | -500 to 1000 HU | 96 x 96 x 48 |",
        "| dice | 0.912 | 0.890 to 0.930 |",
        "| CPU time for one volume, median | 2.12 s |",
        "Few test volumes: abdomen.",
        "a missed organ is no part of it",
        "medistill predict deployed/abdomen/model.onnx scan.nii.gz --out mask.nii.gz",
    ],
)
def test_card_says(words: str) -> None:
    assert words in card()


def test_a_segmenter_that_began_as_a_released_one_says_so() -> None:
    student = {"name": "sat_nano", "weights": "nano.pth"}
    own = {"name": "sat_nano", "licences": []}
    known = facts(
        recipe={**RECIPE, "student": student},
        environment={"versions": {}, "teacher": None, "student": own},
        tasks={"abdomen": config()},
    )
    told = model_card(known)
    assert "The exported file holds the weights of `sat_nano`, as training left them." in told
    assert "Licence of its weights: not stated; ask before you share this." in told
    assert "taught by" not in told


def test_card_says_nothing_that_is_true_of_classifiers_alone() -> None:
    assert not any(word in card() for word in ("pixels", "temperature scaling", "from PIL"))


def test_magnetic_resonance_is_clipped_to_percentiles() -> None:
    assert "percentiles 0.5 to 99.5" in card(preparation={**PREPARATION, "modality": "mr"})


def test_several_modalities_are_told_each_with_its_bounds() -> None:
    text = card(modalities=["ct", "mr"])
    assert "| CT -500 to 1000 HU; MR percentiles 0.5 to 99.5 |" in text


def test_directions_between_the_axes_of_the_body_are_told_in_place_of_those() -> None:
    frame = [0.6, 0.0, -0.8, 0.0, 1.0, 0.0, 0.8, 0.0, 0.6]
    text = card(preparation={**PREPARATION, "frame": frame})
    assert "| RAS |" not in text
    wanted = "RAS of a frame between the axes of the body"
    assert f"| {wanted} (0.60 0.00 0.80; 0.00 1.00 0.00; -0.80 0.00 0.60) |" in text


def test_config_with_less_in_it_makes_a_card() -> None:
    text = card(preparation={}, patch=None, volumes={})
    assert "## Preprocessing" in text
    assert "Few test volumes" not in text
