"""Figures for slides and papers, as they are drawn before they are written."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from medistill.report import plates
from medistill.report.plates import LIGHT, REST, plane_plate, similarity_plate
from medistill.report.regions import HUES

NOWHERE = Path("never-written.png")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Figure, tuple[float, float]]]:
    """What would have been written, and its size in inches."""
    found = []

    def write(draw: Any, path: Path, size: tuple[float, float]) -> None:
        assert path == NOWHERE
        figure = Figure(figsize=size)
        draw(figure)
        found.append((figure, size))

    monkeypatch.setattr(plates, "_write", write)
    return found


def boundaries(classes: int, names: tuple[str, ...] = ("rd",)) -> dict[str, Any]:
    """Each class has a column of the plane, three times as wide as high."""
    called = [" ".join([str(number)] * classes) for number in range(classes)]
    images = [{"at": [n, 0], "class": f"kind {n}"} for n in (0, 1, classes - 1)]
    plane = {"box": [[-1, -1], [8, 2]], "called": [called] * len(names), "images": images}
    return {"names": list(names), "plane": plane}


def kinds(count: int) -> list[str]:
    return [f"kind {number}" for number in range(count)]


class TestPlane:
    def test_key_names_every_class_in_its_colour(self, figures: list[Any]) -> None:
        plane_plate(boundaries(3), kinds(3), NOWHERE)
        (legend,) = figures[0][0].legends
        assert [text.get_text() for text in legend.get_texts()] == kinds(3)
        assert [handle.get_color() for handle in legend.legend_handles] == list(LIGHT[:3])

    def test_of_many_classes_the_rest_share_a_name_and_a_grey(self, figures: list[Any]) -> None:
        plane_plate(boundaries(9), kinds(9), NOWHERE)
        (legend,) = figures[0][0].legends
        told = [text.get_text() for text in legend.get_texts()]
        assert len(told) == HUES + 1
        assert told[-1] == "other classes"
        assert legend.legend_handles[-1].get_color() == REST
        assert {"kind 0", "kind 1", "kind 8"} <= set(told)

    def test_panels_have_the_shape_of_the_plane(self, figures: list[Any]) -> None:
        plane_plate(boundaries(2, ("rd", "teacher", "alone")), kinds(2), NOWHERE)
        (figure, (wide, high)) = figures[0]
        assert [axes.get_title() for axes in figure.axes] == ["rd", "teacher", "alone"]
        assert wide == pytest.approx(3 * (plates.PANEL + 0.15))
        assert high == pytest.approx(plates.PANEL / 3 + 0.7)

    def test_what_lies_across_lies_across(self, figures: list[Any]) -> None:
        plane_plate(boundaries(2), kinds(2), NOWHERE)
        (image,) = figures[0][0].axes[0].images
        pixels = image.get_array()
        assert (pixels[:, 0] == pixels[0, 0]).all()
        assert (pixels[0, 0] != pixels[0, 1]).any()
        assert image.get_extent() == [-1, 8, -1, 2]

    def test_images_stand_where_they_lie(self, figures: list[Any]) -> None:
        plane_plate(boundaries(4), kinds(4), NOWHERE)
        marks = [tuple(line.get_xydata()[0]) for line in figures[0][0].axes[0].lines]
        assert marks == [(0, 0), (1, 0), (3, 0)]


class TestSimilarity:
    def test_numbers_stand_in_their_cells(self, figures: list[Any]) -> None:
        found = {"names": ["a", "b"], "images": 12, "cka": [[1, 0.255], [0.25, None]]}
        similarity_plate(found, NOWHERE)
        (axes,) = figures[0][0].axes
        told = {text.get_position(): text.get_text() for text in axes.texts}
        assert told == {(0, 0): "1.00", (1, 0): "0.26", (0, 1): "0.25", (1, 1): "nan"}
        assert axes.get_title() == "linear CKA, 12 images"

    def test_both_sides_are_named(self, figures: list[Any]) -> None:
        similarity_plate({"names": ["a", "$b_{"], "images": 1, "cka": [[1, 0], [0, 1]]}, NOWHERE)
        (axes,) = figures[0][0].axes
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            assert [label.get_text() for label in labels] == ["a", "$b_{"]
