"""The page of a segmentation: true to the files, whole, and silent about patients."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from medistill.case_results import CaseResult, Score, read_cases, write_cases
from medistill.report.averages import lines
from medistill.report.evidence import Evidence
from medistill.report.markup import together
from medistill.report.page import write_page
from medistill.report.tables import results_table
from medistill.report.volumes import figures, sections
from medistill.report.volumes.sections import agreement_of
from medistill.report.volumes.slices import OUTLINES
from medistill.results import RunFolder, read_json, write_json, write_text
from tests.report.reading import Reader, read
from tests.report.sketching import rows, sketch

from . import folders

EVIL = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return folders.one_region(tmp_path_factory.mktemp("runs") / "lorkd")


@pytest.fixture(scope="module")
def page(run: RunFolder) -> Reader:
    return read(write_page(run))


class TestPage:
    def test_it_is_well_formed_and_needs_nothing_beside_it(self, run, page):
        assert not page.unbalanced
        assert not page.open
        assert "http" not in run.report.read_text(encoding="utf-8").replace("http-equiv", "")

    def test_every_picture_has_words_and_comes_along(self, page):
        assert all(picture["alt"] for picture in page.all("img"))
        assert all(str(p["src"]).startswith("data:image/png;base64,") for p in page.all("img"))
        assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))

    def test_headline_says_what_is_outlined_and_how_well(self, run, page):
        dice = read_json(run.metrics)["test"]["hippocampus"]["dice"]["value"]
        assert "unet for hippocampus: outlining anterior and posterior" in page.text
        assert f"DSC {dice:.3f}" in page.text
        assert "On 26 test cases" in page.text
        assert "answers a volume in 2.10 s on a CPU" in page.text

    def test_sections_are_those_of_a_segmentation(self, page):
        titles = ["By class", "By case", "Worst cases, and a typical one", "Volumes", "Data"]
        places = [page.text.index(f"\n{title}\n") for title in titles]
        assert places == sorted(places)
        assert not any(word in page.text for word in ("ROC", "Sensitivity", "an image", "pixel"))

    def test_nothing_is_said_to_be_missing_that_a_segmentation_never_has(self, run):
        assert Evidence(run).missing == []

    def test_cases_are_named_by_their_digest(self, run, page):
        worst = min(read_cases(run.cases), key=lambda case: case.dice)
        assert f"case {worst.sample[:8]} (worst, 1 of 26 from the worst)" in page.text

    def test_table_counts_what_was_missed_and_what_was_invented(self, page):
        assert re.search(r"anterior 25 of 26 0 1 ", page.text)
        assert re.search(r"posterior 26 of 26 1 0 ", page.text)

    def test_costs_are_of_a_patch(self, page):
        assert "Multiply-accumulates a patch" in page.text
        assert "over 4 validation patches" in page.text

    def test_cases_that_show_a_class_are_not_added_up(self, page):
        assert "all 180 26 26 232" in page.text

    def test_several_regions_are_summed_up_with_their_mean(self, tmp_path):
        run = folders.write_run(tmp_path / "run", {"brain": ("a",), "heart": ("b", "c")}, worst=0)
        text = read(write_page(run)).text
        assert "mean of 2 tasks" in text
        assert "Cases (test)" in text
        assert lines(Evidence(run))[-1].startswith("mean of 2 tasks: DSC ")

    def test_regions_of_several_tasks_have_a_table_and_others_need_none(self, tmp_path):
        run = folders.write_run(tmp_path / "run", {"ct": ("a",), "mr": ("a",)}, worst=0)
        estimate = {"value": 0.75, "low": 0.7, "high": 0.8}
        one = {"abdomen": {"dice": estimate}, "all": {"dice": estimate}}
        write_json(run.regions, {"test": one})
        text = read(write_page(run)).text
        assert "abdomen 0.750 (0.700 to 0.800)" in text
        assert "mean of all regions 0.750 (0.700 to 0.800)" in text
        two = {"abdomen": {"dice": estimate}, "brain": {"dice": estimate}}
        write_json(run.regions, {"test": {**two, "all": {"dice": estimate}}})
        assert "mean of all regions" not in read(write_page(run)).text

    def test_metrics_alone_make_a_page(self, tmp_path, run):
        bare = RunFolder(tmp_path / "bare")
        write_json(bare.metrics, read_json(run.metrics))
        text = read(write_page(bare)).text
        assert "Not in the folder:" in text
        assert "the scores of the cases" in text


class TestAgainst:
    def test_other_run_on_the_same_volumes_stands_beside(self, run, tmp_path):
        other = folders.one_region(tmp_path / "alone", skill=0.8, seed=4, worst=0)
        found = read(write_page(run, [other]))
        assert "no paired test was made" in found.text
        assert "judged on other images" not in found.text
        # Distances and shares have no axis in common.
        labels = [str(svg["aria-label"]) for svg in found.all("svg")]
        (told,) = [label for label in labels if label.startswith("DSC: student")]
        assert "HD95" not in told

    def test_other_volumes_do_not_compare(self, run, tmp_path):
        other = folders.one_region(tmp_path / "alone", worst=0)
        write_cases(other.cases, read_cases(other.cases)[:20])
        text = read(write_page(run, [other])).text
        assert "(20 of 26 here and 20 there are shared)" in text

    def test_rows_of_a_table_name_metric_and_class(self, run):
        rows = results_table(run)
        assert [row[1] for row in rows[1:5]] == ["DSC", "NSD", "HD95", "DSC, anterior"]
        assert all("mm" in row[2] for row in rows if row[1].startswith("HD95"))


class TestHarm:
    def test_words_of_the_files_stay_words(self, tmp_path):
        run = folders.write_run(tmp_path / "run", {EVIL: (EVIL, "b")})
        index = read_json(run.slices / "index.json")
        assert len(index) == 2
        for picture in index:
            picture |= {"colours": {EVIL: "red;background:url(x)", "b": "#ffb000"}}
            picture |= {"kind": EVIL}
        write_json(run.slices / "index.json", index)
        found = read(write_page(run))
        assert not found.all("script")
        assert len(found.all("img")) == 2
        assert not any("url" in str(tag.get("style")) for _, tag in found.tags)

    def test_picture_from_elsewhere_is_left_out(self, tmp_path):
        run = folders.one_region(tmp_path / "run")
        (tmp_path / "secret.png").write_bytes(b"secret")
        index = read_json(run.slices / "index.json")
        write_json(run.slices / "index.json", [*index, {**index[0], "file": "../../secret.png"}])
        assert len(Evidence(run).slices) == len(index)

    def test_broken_file_of_cases_is_named(self, tmp_path):
        run = folders.one_region(tmp_path / "run")
        Path(run.cases).write_text("task,split\nbrain,test\n")
        with pytest.raises(Exception, match=r"cases\.csv cannot be read"):
            write_page(run)


class TestAgreement:
    def test_it_is_over_the_cases_that_were_annotated(self):
        cases = folders.cases("brain", ("a", "b"))
        assert agreement_of(cases, "a").differences.shape == (26,)
        assert agreement_of(cases, "c") is None


def scored(*dices, truth=2.0, said=2.0, name="a"):
    """Cases of one class."""
    return [
        CaseResult("t", "test", f"{place:016x}", -1, {name: Score(d, d, None, truth, said)})
        for place, d in enumerate(dices)
    ]


def evidence_of(path, cases, classes=("a",), **config):
    """As much of a run as sections need."""
    run = RunFolder(path)
    write_cases(run.cases, cases)
    write_json(run.metrics, {"test": {"t": {"dice": {"value": 0.5, "low": None, "high": None}}}})
    told = {"kind": "segmentation", "classes": list(classes), **config}
    write_json(run.deployed("t").config, told)
    return Evidence(run)


class TestSections:
    @pytest.fixture(autouse=True)
    def axes(self, monkeypatch):
        return sketch(monkeypatch, figures)

    def test_of_no_case_there_is_no_section(self, tmp_path):
        evidence = evidence_of(tmp_path, [])
        assert sections.by_class(evidence, [], "t") == []
        assert sections.by_case(evidence, "t") == []
        assert sections.slices(evidence, "t") == []
        assert sections.volumes(evidence, "t") == []

    def test_metric_that_no_case_has_is_not_drawn(self, tmp_path):
        text = read(together(sections.by_case(evidence_of(tmp_path, scored(0.5, 0.6)), "t"))).text
        assert "DSC of each case." in text
        assert "HD95" not in text

    def test_class_that_nobody_annotated_has_no_row(self, tmp_path, axes):
        evidence = evidence_of(tmp_path, scored(0.5), ("a", "gland"))
        sections.by_case(evidence, "t")
        assert [rows(one) for one in axes] == [["a"], ["a"]]
        assert "gland" not in read(together(sections.volumes(evidence, "t"))).text

    def test_one_case_has_no_limits(self, tmp_path):
        text = read(together(sections.volumes(evidence_of(tmp_path, scored(0.5)), "t"))).text
        assert "a 1 of 1 0 0 2.00 0 \N{EN DASH}\n" in text

    def test_class_that_was_never_there_is_present_in_none(self, tmp_path):
        cases = scored(0.0, 1.0, truth=0.0, said=0.0)
        text = read(together(sections.volumes(evidence_of(tmp_path, cases), "t"))).text
        assert "a 0 of 2 0 0 0 0 0 to 0\n" in text

    def test_missed_and_invented_are_counted_apart(self, tmp_path):
        cases = [*scored(0.0, said=0.0), *scored(0.0, truth=0.0), *scored(0.9)]
        text = read(together(sections.volumes(evidence_of(tmp_path, cases), "t"))).text
        assert "a 2 of 3 1 1 1.33 " in text

    def test_of_many_classes_the_least_certain_are_drawn_and_all_are_in_the_table(self, tmp_path):
        names = [f"organ {number}" for number in range(sections.PANELS + 2)]
        cases = [
            CaseResult("t", "test", f"{sign:016x}", -1, {
                name: Score(0.5, 0.5, None, 10.0, 10.0 + (sign - 0.5) * (1 + place))
                for place, name in enumerate(names)
            })
            for sign in (0, 1)
        ]  # fmt: skip
        found = read(together(sections.volumes(evidence_of(tmp_path, cases, names), "t")))
        drawn = [str(svg["aria-label"]).split(":")[0] for svg in found.all("svg")]
        assert drawn == [f"Volumes of {name}" for name in names[2:]]
        assert all(f"\n{name} 2 of 2 " in found.text for name in names)
        assert f"The {sections.PANELS} classes with the widest limits." in found.text

    def test_tolerance_of_the_recipe_is_told(self, tmp_path):
        run = RunFolder(tmp_path)
        estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
        write_json(run.metrics, {"test": {"t": {"dice": estimate, "dice/a": estimate}}})
        write_json(run.data, {"t": {"kind": "segmentation", "classes": ["a", "b"]}})
        write_text(run.recipe, "evaluation: {tolerance_mm: 2.5}")
        text = read(together(sections.by_class(Evidence(run), [], "t"))).text
        assert "that lies within 2.5 mm" in text
        assert "\na 0.500 0.400 to 0.600 " in text
        assert "\nb " not in text


class TestSlices:
    def shown(self, path, picture, cases=(), **config):
        evidence = evidence_of(path, list(cases), ("a", "b"), **config)
        folder = evidence.run.slices
        folder.mkdir(parents=True)
        (folder / "000.png").write_bytes(b"png")
        told = {"file": "000.png", "task": "t", "sample": f"{0:016x}", "kind": "worst"}
        write_json(folder / "index.json", [{**told, **picture}])
        return read(together(sections.slices(evidence, "t")))

    def test_case_is_placed_among_the_others(self, tmp_path):
        text = self.shown(tmp_path, {}, scored(0.5, 0.1, 0.9)).text
        assert "case 00000000 (worst, 2 of 3 from the worst)" in text
        assert "DSC 0.500: a 0.500" in text

    def test_identical_scans_with_other_labels_have_their_own_scores(self, tmp_path):
        first, second, third = scored(0.5, 0.1, 0.9)
        twins = [first, replace(second, sample=first.sample), third]
        for number, told in enumerate(["DSC 0.500", "DSC 0.100"]):
            text = self.shown(tmp_path / str(number), {"case": number}, twins).text
            assert told in text
            assert f"{2 - number} of 3 from the worst" in text

    @pytest.mark.parametrize("number", [1, 7, -1])
    def test_number_of_another_case_gives_no_scores(self, tmp_path, number):
        assert "DSC" not in self.shown(tmp_path, {"case": number}, scored(0.5, 0.1)).text

    def test_case_that_is_not_in_the_file_is_shown_without_scores(self, tmp_path):
        found = self.shown(tmp_path, {"sample": "f" * 16}, scored(0.5))
        assert "case ffffffff (worst)" in found.text
        assert "DSC" not in found.text

    def test_side_of_the_patient_is_told_only_where_it_is_known(self, tmp_path):
        known = self.shown(tmp_path / "a", {}, preparation={"orientation": "RAS"}).text
        assert "with the patient's right on the left" in known
        assert "right on the left" not in self.shown(tmp_path / "b", {}).text

    def test_planes_between_the_axes_of_the_body_are_not_called_by_those(self, tmp_path):
        frame = [0.6, 0.0, -0.8, 0.0, 1.0, 0.0, 0.8, 0.0, 0.6]
        told = {"orientation": "RAS", "frame": frame}
        text = self.shown(tmp_path / "a", {}, preparation=told).text
        assert "right on the left" not in text
        assert "along directions of these scans' own" in text
        straight = self.shown(tmp_path / "b", {}, preparation={**told, "frame": None}).text
        assert "with the patient's right on the left" in straight

    def test_key_holds_the_classes_that_are_shown_in_their_colours(self, tmp_path):
        found = self.shown(tmp_path, {"colours": {"b": "#123456"}})
        marks = [tag for tag in found.all("span") if tag.get("class") == "outline"]
        assert [mark["style"] for mark in marks] == ["--outline:#123456"]

    def test_index_that_names_no_colours_has_a_key_of_all_classes(self, tmp_path):
        found = self.shown(tmp_path, {})
        marks = [tag for tag in found.all("span") if tag.get("class") == "outline"]
        assert [mark["style"] for mark in marks] == [f"--outline:{one}" for one in OUTLINES[:2]]

    def test_picture_of_another_task_is_not_shown(self, tmp_path):
        assert self.shown(tmp_path, {"task": "another"}).text.strip() == ""
