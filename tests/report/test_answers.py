"""How a student answers: every image is counted once, and nothing is drawn of nothing."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from medistill.report import figures
from medistill.report.answers import CURVES, MISTAKES, by_class, by_threshold, mistakes
from medistill.report.curves import confusion
from medistill.report.evidence import Evidence
from medistill.report.markup import Html, together
from medistill.results import (
    PredictionTable,
    RunFolder,
    read_json,
    write_json,
    write_metrics,
    write_predictions,
)

from . import folders
from .reading import Reader, read
from .sketching import dots, names, sketch

Part = Callable[[Evidence, list[Evidence], str], list[Html]]
TASK = "covid_ct"


@pytest.fixture(autouse=True)
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    return sketch(monkeypatch, figures)


def run_of(path: Path, table: PredictionTable, **config: Any) -> RunFolder:
    """What a finished run tells of its answers."""
    run = RunFolder(path)
    write_predictions(run.predictions, [table])
    write_metrics(run.metrics, {table.split: {table.task: folders.estimates(table)}})
    write_json(run.deployed(table.task).config, {**folders.config(table), **config})
    return run


def shown(part: Part, run: RunFolder, *others: RunFolder, task: str = TASK) -> Reader:
    return read(together(part(Evidence(run), [Evidence(other) for other in others], task)))


def pictures(found: Reader) -> list[str]:
    return [str(svg["aria-label"]) for svg in found.all("svg")]


class TestMatrix:
    @pytest.mark.parametrize("classes", [folders.CT, folders.BLOOD, tuple("abcdefghijkl")])
    def test_rows_add_up_to_their_class_and_all_of_them_to_the_split(
        self, tmp_path: Path, classes: tuple[str, ...]
    ) -> None:
        table = folders.table(classes, 150)
        text = shown(by_class, run_of(tmp_path, table)).text
        assert "150 images: counts, and their share of the row." in text
        for name, counts in zip(classes, confusion(table).tolist(), strict=True):
            row = re.search(rf"^{name} ((?:\d+ \d+ % )+)(\d+)$", text, re.MULTILINE)
            assert row is not None
            assert [int(n) for n in re.findall(r"(\d+) \d+ %", row[1])] == counts
            assert int(row[2]) == sum(counts)

    def test_class_without_an_image_has_counts_and_no_shares(self, tmp_path: Path) -> None:
        table = folders.table(folders.BLOOD, 40)
        targets = np.where(table.targets == 3, 0, table.targets)
        text = shown(by_class, run_of(tmp_path, replace(table, targets=targets))).text
        assert "\nneutrophil 0 0 0 0 0\n" in text

    def test_colour_never_hides_the_count(self, tmp_path: Path) -> None:
        found = shown(by_class, run_of(tmp_path, folders.table(skill=50.0)))
        shares = [int(re.sub(r"\D", "", str(cell.get("style")))) for cell in found.all("td")
                  if cell.get("class") in ("right", "wrong")]  # fmt: skip
        assert max(shares) == 60
        assert min(shares) == 0

    def test_one_answer_to_images_of_one_class_is_no_failure(self, tmp_path: Path) -> None:
        table = folders.table(skill=50.0)
        right = replace(table, targets=table.predicted * 0)
        same = replace(right, probabilities=np.tile(np.float32([0.9, 0.1]), (len(table), 1)))
        assert "tells nothing apart" not in shown(by_class, run_of(tmp_path, same)).text

    def test_names_cannot_become_markup(self, tmp_path: Path) -> None:
        found = shown(by_class, run_of(tmp_path, folders.table(("<b>x</b>", "a & b"), 30)))
        assert "<b>x</b>" in found.text
        assert not found.all("b")


class TestRates:
    def test_of_two_classes_the_one_of_the_threshold_is_told(self, tmp_path: Path) -> None:
        text = shown(by_class, run_of(tmp_path, folders.table())).text
        rates = text[text.index("A class against all others") :]
        assert "\nCOVID " in rates
        assert "\nNonCOVID " not in rates

    def test_without_a_threshold_it_is_the_last(self, tmp_path: Path) -> None:
        text = shown(by_class, run_of(tmp_path, folders.table(), threshold=None)).text
        assert "\nNonCOVID " in text[text.index("A class against all others") :]

    def test_of_several_all_are(self, tmp_path: Path) -> None:
        run = run_of(tmp_path, folders.table(folders.BLOOD, 100))
        text = shown(by_class, run).text
        rates = text[text.index("A class against all others") :]
        assert all(f"\n{name} " in rates for name in folders.BLOOD)

    def test_metrics_without_predictions_have_rates_and_no_matrix(self, tmp_path: Path) -> None:
        run = run_of(tmp_path, folders.table())
        run.predictions.unlink()
        text = shown(by_class, run).text
        assert "By class" in text
        assert "counts, and their share" not in text

    def test_of_nothing_there_is_no_heading(self, tmp_path: Path) -> None:
        assert shown(by_class, RunFolder(tmp_path)).text.strip() == ""
        assert shown(by_threshold, RunFolder(tmp_path)).text.strip() == ""


class TestThreshold:
    def test_run_without_a_test_split_tells_of_validation(self, tmp_path: Path) -> None:
        run = run_of(tmp_path, folders.table(split="validation"))
        assert "On validation it finds 93.9 %" in shown(by_threshold, run).text

    def test_dot_stands_where_the_threshold_leads_on_this_split(
        self, tmp_path: Path, axes: list[Axes]
    ) -> None:
        table = folders.table()
        found = shown(by_threshold, run_of(tmp_path, table))
        called, positive = table.probabilities[:, 0] >= 0.31, table.targets == 0
        wanted = (called[~positive].mean(), called[positive].mean())
        assert dots(axes[0]) == [pytest.approx(wanted)]
        assert "The dot is the threshold on this split." in found.text

    @pytest.mark.parametrize(
        "point", [None, {}, {"class": "gone", "value": 0.5, "sensitivity": 0.9}]
    )
    def test_threshold_of_nothing_that_is_there_is_not_told(
        self, tmp_path: Path, point: dict[str, Any] | None
    ) -> None:
        text = shown(by_threshold, run_of(tmp_path, folders.table(), threshold=point)).text
        assert "threshold" not in text
        assert "ROC for NonCOVID" in text

    def test_temperature_is_told_where_there_is_one(self, tmp_path: Path) -> None:
        run = run_of(tmp_path, folders.table(), temperature=None, threshold=None)
        assert "calibrated" not in shown(by_threshold, run).text
        run = run_of(tmp_path, folders.table(), temperature=1)
        assert "(temperature 1.00)" in shown(by_threshold, run).text


class TestCurves:
    def test_of_many_classes_the_weakest_are_drawn(self, tmp_path: Path, axes: list[Axes]) -> None:
        table = folders.table(tuple("abcdefghij"), 300)
        found = shown(by_threshold, run_of(tmp_path, table))
        assert f"the {CURVES} weakest classes" in found.text
        areas = [float(area) for area in re.findall(r"[a-j] (0\.\d+)", pictures(found)[0])]
        assert areas == sorted(areas)
        assert len(names(axes[0])) == CURVES

    def test_of_few_no_choice_is_spoken_of(self, tmp_path: Path) -> None:
        text = shown(by_threshold, run_of(tmp_path, folders.table(folders.BLOOD, 100))).text
        assert "ROC of each class against the rest, with" in text

    def test_images_of_one_class_have_no_curve(self, tmp_path: Path) -> None:
        table = folders.table()
        run = run_of(tmp_path, replace(table, targets=np.zeros_like(table.targets)))
        found = shown(by_threshold, run)
        assert not any("ROC" in words for words in pictures(found))
        assert "The dot is" not in found.text

    def test_other_run_is_drawn_only_if_it_saw_the_same_images(
        self, tmp_path: Path, axes: list[Axes]
    ) -> None:
        run = run_of(tmp_path / "rd", folders.table())
        same = run_of(tmp_path / "same", folders.table(seed=3))
        fewer = run_of(tmp_path / "fewer", folders.first(folders.table(), 50))
        turned = run_of(tmp_path / "turned", folders.table(folders.CT[::-1]))
        shown(by_threshold, run, same, fewer, turned, RunFolder(tmp_path / "none"))
        told = [name.rpartition(" ")[0] for name in names(axes[0])]
        assert told == ["student", "same", ""]  # and the threshold

    def test_answers_that_are_all_right_leave_a_group_empty(self, tmp_path: Path) -> None:
        table = folders.table(folders.BLOOD, 40, skill=90.0)
        told = pictures(shown(by_threshold, run_of(tmp_path, table)))
        assert told[-1].startswith(
            "Histogram of the probability of the class called. right: 40 images"
        )
        assert "wrong" not in told[-1]


class TestMistakes:
    def test_only_so_many_are_shown_and_only_of_this_task(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        one, *_ = read_json(run.worst / "index.json")
        others = [{**one, "task": "another"}] * 3
        write_json(run.worst / "index.json", [*others, *[one] * (MISTAKES + 3)])
        evidence = Evidence(run)
        assert together(mistakes(evidence, TASK)).count("<img") == MISTAKES
        assert together(mistakes(evidence, "another")).count("<img") == 3
        assert mistakes(evidence, "absent") == []

    def test_words_tell_what_it_is_and_what_it_was_called(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        index = read_json(run.worst / "index.json")[:1]
        index[0] |= {"target": 'a "b"', "predicted": "<c>", "probability": 1}
        write_json(run.worst / "index.json", index)
        found = read(together(mistakes(Evidence(run), TASK)))
        (image,) = found.all("img")
        assert image["alt"] == 'Image of a "b", wrongly called <c> with a probability of 100 %.'
        assert 'called <c> 100 % truth: a "b"' in " ".join(found.text.split())
