"""What networks of several tasks have in common, in tables and words."""

from pathlib import Path
from typing import Any

import pytest

from medistill.report.evidence import Evidence
from medistill.report.experts import costs, experts_of, gaps, said_of_similarity
from medistill.report.insight import insight
from medistill.report.markup import together
from medistill.report.wording import UNDEFINED
from medistill.results import RunFolder, write_json

from .reading import Reader, read

EVIL = '"><script>alert(1)</script>'


def panel(name: str = "rd", *, one_encoder: bool = False, **gap: Any) -> dict[str, Any]:
    factors = {"task": 0.2, "eye": 0.1, "ear": 0.3}
    known = {"gap": 0.1234, "chance": 0.05, "by_factor": factors, **gap}
    return {
        "name": name, "one_encoder": one_encoder, "gap": {"features": known},
        "cka": [[1.0, 0.25], [0.25, 1.0]], "covariance": [[1.0, 0.5], [0.5, 1.0]],
    }  # fmt: skip


def found(*panels: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "tasks": ["eye", "ear"], "split": "test", "images": 64, "panels": list(panels),
        "overlays": {}, "cost": [], **changes,
    }  # fmt: skip


def shown(document: dict[str, Any], path: Path) -> Reader:
    run = RunFolder(path)
    write_json(run.analysis.parent / "experts.json", document)
    return read(together(insight(Evidence(run))))


def test_where_nobody_asked_there_is_nothing(tmp_path: Path) -> None:
    assert experts_of(Evidence(RunFolder(tmp_path))) == {}
    assert insight(Evidence(RunFolder(tmp_path))) == []


class TestGaps:
    def said(self, *panels: dict[str, Any]) -> str:
        return read(together(gaps(found(*panels)))).text

    def test_classes_are_averaged_and_the_task_is_not_among_them(self) -> None:
        assert "rd features 0.123 0.050 0.200 0.200\n" in self.said(panel())

    def test_task_alone_has_no_classes(self) -> None:
        told = self.said(panel(by_factor={"task": 0.2}))
        assert f"rd features 0.123 0.050 0.200 {UNDEFINED}\n" in told

    def test_gap_of_nothing_is_a_dash(self) -> None:
        told = self.said(panel(gap=None, chance=None, by_factor={}))
        assert f"rd features {' '.join([UNDEFINED] * 4)}\n" in told

    def test_every_run_has_a_row_and_the_images_are_counted(self) -> None:
        told = self.said(panel("a"), panel("b"))
        assert "\na features" in told
        assert "\nb features" in told
        assert "64 images of each task" in told


class TestCosts:
    def test_of_no_cost_there_is_no_heading(self) -> None:
        assert costs(found()) == []

    def test_what_was_not_measured_is_a_dash(self) -> None:
        line = {"name": "folded in", "parameters": 1_200_000, "bytes": 4_800_000}
        told = read(together(costs(found(cost=[line])))).text
        assert f"folded in 1.20 M {UNDEFINED} 4.80 MB {UNDEFINED}\n" in told


@pytest.mark.parametrize(
    ("alike", "words"),
    [
        ([], "gone ways of their own. Right,"),
        (["a"], " a has one encoder for all tasks: all ones. Right,"),
        (["a", "b"], " a and b have one encoder for all tasks: all ones."),
    ],
)
def test_runs_of_one_encoder_are_named(alike: list[str], words: str) -> None:
    panels = [panel(name, one_encoder=name in alike) for name in ("a", "b")]
    assert words in said_of_similarity(found(*panels))


@pytest.mark.parametrize(
    ("apart", "words"), [(["a"], " a has none:"), (["a", "b"], "a and b have")]
)
def test_runs_without_dimensions_in_common_are_named(apart: list[str], words: str) -> None:
    panels = [panel(name) for name in ("a", "b")]
    assert "trained apart" not in said_of_similarity(found(*panels))
    for each in panels:
        if each["name"] in apart:
            each["covariance"] = None
    told = said_of_similarity(found(*panels))
    assert words in told
    assert "trained apart" in told


class TestSection:
    def test_what_was_left_out_has_no_matrix(self, tmp_path: Path) -> None:
        text = shown(found(panel("a"), {**panel("b"), "covariance": None}), tmp_path).text
        assert "a: covariances" in text and "b: CKA on" in text
        assert "b: covariances" not in text

    def test_both_matrices_of_each_run_are_there(self, tmp_path: Path) -> None:
        text = shown(found(panel("a"), panel("b")), tmp_path).text
        assert "The networks of eye and ear as deployed, on their test images." in text
        for name in ("a", "b"):
            assert f"{name}: CKA on the same images.\neye ear\neye 1.00 0.25" in text
            assert f"{name}: covariances, each on its own.\neye ear\neye 1.00 0.50" in text

    def test_names_cannot_become_markup(self, tmp_path: Path) -> None:
        document = found(panel(EVIL), tasks=[EVIL, "ear"], cost=[{"name": EVIL}])
        page = shown(document, tmp_path)
        assert not page.unbalanced
        assert not page.all("script")

    def test_pictures_come_from_their_own_folder_alone(self, tmp_path: Path) -> None:
        (tmp_path / "secret.png").write_bytes(b"x")
        image = {"file": "../../../secret.png", "target": "a", "called": "a", "probability": 1}
        overlays = {"eye": {"names": ["rd"], "images": [image]}}
        assert not shown(found(panel(), overlays=overlays), tmp_path / "run").all("img")

    def test_pictures_are_told_apart_by_their_task(self, tmp_path: Path) -> None:
        image = {"file": "001.png", "target": "a", "called": "b", "probability": 0.5}
        for place in ("1", "2"):
            file = RunFolder(tmp_path).analysis.parent / "experts" / place / "001.png"
            file.parent.mkdir(parents=True)
            file.write_bytes(place.encode())
        one = {"names": ["rd"], "images": [image]}
        page = shown(found(panel(), overlays={"eye": one, "ear": one}), tmp_path)
        assert page.text.index("Where it looked: eye") < page.text.index("Where it looked: ear")
        assert len({str(picture["src"]) for picture in page.all("img")}) == 2
