"""What an analysis found, on the page and as pictures of their own."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medistill.report.evidence import Evidence
from medistill.report.insight import insight
from medistill.report.markup import together
from medistill.report.page import write_page
from medistill.report.plates import LIGHT, plane_plate, similarity_plate
from medistill.report.regions import HUES, hues, plane
from medistill.report.style import STYLE
from medistill.results import RunFolder, write_json

from . import folders
from .reading import Reader, read

EVIL = '"><script>alert(1)</script>'
NAMES = ["teacher (probe)", "rd", "alone"]


def lines(points: np.ndarray) -> list[str]:
    return [" ".join(map(str, column)) for column in points.tolist()]


def boundaries(names: list[str] = NAMES, classes: int = 2, side: int = 8) -> dict[str, Any]:
    """Each network divides the plane by a line of its own."""
    across, up = np.mgrid[:side, :side]
    called = [((across + n * up) * classes // (side * (n + 1))).tolist() for n in range(len(names))]
    score = {"value": 0.744, "low": 0.666, "high": 0.8216, "chance": 0.625}
    images = [
        {"at": at, "class": f"kind {n % classes}"} for n, at in enumerate(([0, 0], [9, 0], [4, 5]))
    ]
    return {
        "planes": 500, "grid": 5, "names": names, "regions": [2.0, 2.34, 3.1][: len(names)],
        "scores": [[score] * len(names)] * len(names),
        "plane": {"box": [[-1, -0.5], [10, 5.5]], "images": images,
                  "called": [lines(np.array(each)) for each in called]},
    }  # fmt: skip


def similarity(names: list[str] = NAMES) -> dict[str, Any]:
    matrix = np.eye(len(names)) * 0.6 + 0.4
    scales = {
        "rows": "rd",
        "columns": "teacher (probe)",
        "cka": [[0.9, 0.2, 0.13], [0.5, -0.01, 0.3]],
    }
    return {"images": 203, "names": names, "cka": matrix.tolist(), "scales": scales}


def analysed(path: Path, **changes: Any) -> RunFolder:
    """A run with an analysis of two classes."""
    run = folders.binary(path)
    images = [
        {"file": "001.png", "target": "kind 0", "called": "kind 0", "probability": 0.9},
        {"file": "002.png", "target": "kind 1", "called": "kind 0", "probability": 0.857},
    ]
    for image in images:
        file = run.analysis.parent / "overlays" / image["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 10)).save(file)
    document = {
        "task": "covid_ct", "split": "test", "classes": ["kind 0", "kind 1"],
        "boundaries": boundaries(), "similarity": similarity(),
        "overlays": {"names": NAMES, "images": images},
    }  # fmt: skip
    write_json(run.analysis, {**document, **changes})
    return run


def shown(run: RunFolder) -> Reader:
    return read(together(insight(Evidence(run))))


class TestSection:
    def test_it_tells_scores_regions_similarities_and_where_it_looked(self, tmp_path: Path) -> None:
        text = shown(analysed(tmp_path / "run")).text
        assert "Each of 500 planes goes through three images of both classes" in text
        assert "teacher (probe) and rd 74.4 % 66.6 to 82.2 62.5 %" in text
        assert "rd: 2.3 regions a plane" in text
        assert "teacher (probe) 1.00 0.40 0.40" in text
        assert "map 2 0.50 -0.01 0.30" in text
        assert "called kind 0 90 %, rightly" in text
        assert "called kind 0 86 %; truth: kind 1" in text

    def test_page_stays_whole_and_needs_nothing_beside_it(self, tmp_path: Path) -> None:
        page = write_page(analysed(tmp_path / "run"))
        found, text = read(page), page.read_text(encoding="utf-8")
        assert not found.unbalanced
        assert not found.open
        assert "Seeing why" in found.text
        assert "http" not in text.replace("http-equiv", "")
        assert all(picture["alt"] for picture in found.all("img"))
        assert all(str(p["src"]).startswith("data:image/png;base64,") for p in found.all("img"))
        assert all(svg["role"] == "img" and svg["aria-label"] for svg in found.all("svg"))

    def test_run_without_an_analysis_has_no_section(self, tmp_path: Path) -> None:
        assert insight(Evidence(folders.binary(tmp_path / "run"))) == []

    @pytest.mark.parametrize("part", ["boundaries", "similarity", "overlays"])
    def test_a_part_that_was_left_out_is_left_out(self, tmp_path: Path, part: str) -> None:
        headings = {"boundaries": "Decision bound", "similarity": "Similarity", "overlays": "Where"}
        text = shown(analysed(tmp_path / "run", **{part: None})).text
        assert [part for part, told in headings.items() if told not in text] == [part]

    def test_one_network_alone_has_no_scores_and_no_matrix(self, tmp_path: Path) -> None:
        found = {"boundaries": boundaries(["rd"]), "similarity": similarity(["rd"])}
        text = shown(analysed(tmp_path / "run", **found)).text
        assert "rd: 2.0 regions a plane" in text
        assert "Reproducibility" not in text
        assert "Similarity" not in text

    def test_names_cannot_become_markup(self, tmp_path: Path) -> None:
        found = {"boundaries": boundaries([EVIL, "b"]), "similarity": similarity([EVIL, "b"])}
        assert "script" not in {tag for tag, _ in shown(analysed(tmp_path / "r", **found)).tags}

    @pytest.mark.parametrize("file", ["../../worst/001.png", "absent.png", "/etc/hostname"])
    def test_index_fetches_no_file_from_elsewhere(self, tmp_path: Path, file: str) -> None:
        image = {"file": file, "target": "a", "called": "b", "probability": 0.5}
        run = analysed(tmp_path / "run", overlays={"names": NAMES, "images": [image]})
        assert not shown(run).all("img")

    def test_an_analysis_elsewhere_makes_a_page_there(self, tmp_path: Path) -> None:
        run = analysed(tmp_path / "run")
        elsewhere = run.analysis.parent.rename(tmp_path / "elsewhere")
        assert write_page(run, analysed=elsewhere) == elsewhere / "report.html"
        assert not run.report.exists()
        assert "Seeing why" in (elsewhere / "report.html").read_text(encoding="utf-8")


class TestPlane:
    def drawn(self, found: dict[str, Any], classes: list[str]) -> str:
        known = hues(found["plane"], classes)
        return plane(found["plane"], found["plane"]["called"][1], "rd", classes, known)

    def test_regions_cover_the_plane_once_in_the_shares_of_the_classes(self) -> None:
        found = boundaries(classes=3, side=9)
        svg = self.drawn(found, ["kind 0", "kind 1", "kind 2"])
        areas = [
            sum(float(w) * float(h) for w, h in re.findall(r"h([\d.]+)v([\d.]+)", path))
            for path in re.findall(r' d="([^"]*)"', svg)
        ]
        called = np.array([line.split() for line in found["plane"]["called"][1]], int)
        whole = 100 * 100 * 6 / 11
        shares = np.bincount(called.flatten()) / called.size
        assert np.array(areas) / whole == pytest.approx(shares, rel=5e-3)  # two digits a length

    def test_what_lies_across_lies_across_and_what_lies_up_lies_up(self) -> None:
        found = boundaries(side=2)
        found["plane"]["called"][1] = ["0 0", "0 1"]  # one point, right and above
        svg = self.drawn(found, ["kind 0", "kind 1"])
        (second,) = re.findall(r' d="([^"]*)"[^>]*series-1', svg)
        assert second == "M50.00 0.00h50.00v27.27h-50.00z"
        left, right, middle = re.findall(r'cx="([\d.]+)" r="[\d.]+" cy="([\d.]+)"', svg)
        assert float(left[0]) < float(middle[0]) < float(right[0])
        assert float(middle[1]) < float(left[1]) == float(right[1])

    def test_words_tell_the_shares(self) -> None:
        (svg,) = read(together([self.drawn(boundaries(), ["kind 0", "kind 1"])])).all("svg")
        assert svg["aria-label"] == (
            "Plane through images of kind 0, kind 1 and kind 0, as rd calls its points: "
            "56% kind 0 and 44% kind 1."
        )

    def test_of_many_classes_the_most_frequent_and_those_of_the_images_have_colours(self) -> None:
        classes = [f"kind {n}" for n in range(12)]
        found = boundaries(classes=12, side=24)
        found["plane"]["images"][0]["class"] = "kind 11"
        known = hues(found["plane"], classes)
        assert sorted(hue for hue in known if hue is not None) == list(range(HUES))
        assert known[11] is not None
        assert "var(--muted)" in self.drawn(found, classes)


class TestPlates:
    def test_plane_has_a_panel_for_each_network(self, tmp_path: Path) -> None:
        sizes = []
        for names in (["图像", "$x_{", "rd"], ["rd"]):
            plane_plate(boundaries(names), ["kind 0", "kind 1"], tmp_path / "plane.png")
            with Image.open(tmp_path / "plane.png") as image:
                pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
                colours = set(map(tuple, np.unique(pixels, axis=0).tolist()))
                sizes.append(image.width)
        assert sizes[0] == pytest.approx(3 * sizes[1], abs=5)
        light = [tuple(bytes.fromhex(colour[1:])) for colour in LIGHT[:2]]
        halves = [tuple(int(127.5 + part / 2) for part in colour) for colour in light]
        assert {*light, *halves} <= colours

    def test_matrix_grows_with_the_networks(self, tmp_path: Path) -> None:
        widths = []
        for names in (NAMES[:2], NAMES):
            similarity_plate(similarity(names), tmp_path / "cka.png")
            with Image.open(tmp_path / "cka.png") as image:
                widths.append(image.width)
        assert widths[0] < widths[1]

    def test_colours_are_those_of_the_page_by_day(self) -> None:
        day = str(STYLE).partition("@media")[0]
        assert [day.index(f"--series-{n}: {colour}") for n, colour in enumerate(LIGHT)]
