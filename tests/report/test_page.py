"""The page as a visitor meets it: whole, self-contained, true to the files, and harmless."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from medistill.errors import UserError
from medistill.report.page import write_page
from medistill.results import (
    PredictionTable,
    RunFolder,
    read_json,
    write_json,
    write_jsonl,
    write_metrics,
    write_predictions,
    write_text,
)

from . import folders
from .reading import Reader, read

GOLDEN = Path(__file__).with_name("golden_page.txt")
EVIL = '"><script>alert(1)</script>'


def empty(path: Path) -> RunFolder:
    path.mkdir()
    return RunFolder(path)


KINDS = [folders.binary, folders.four_classes, folders.several_tasks, folders.interrupted, empty]


def page_of(run: RunFolder, *against: RunFolder) -> Reader:
    return read(write_page(run, against))


def compared(path: Path, **differences: str) -> Reader:
    """A binary run against its student alone."""
    alone = folders.write_run(
        path / "alone", [folders.table(skill=0.9, seed=3)], method="student_alone", teacher=None
    )
    run = folders.binary(path / "rd")
    if differences:
        folders.write_differences(run, differences["name"], "covid_ct")
    return page_of(run, alone)


@pytest.fixture(scope="module", params=KINDS, ids=lambda make: make.__name__)
def any_page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(request.param(tmp_path_factory.mktemp("runs") / "run"))


class TestEveryRun:
    def test_page_is_well_formed(self, any_page: Path) -> None:
        found = read(any_page)
        assert not found.unbalanced
        assert not found.open

    def test_page_needs_nothing_beside_it(self, any_page: Path) -> None:
        found = read(any_page)
        assert not {"link", "script", "iframe", "object"} & {tag for tag, _ in found.tags}
        # Not even a name space: whoever looks for an address in the page finds none.
        assert "http" not in any_page.read_text(encoding="utf-8").replace("http-equiv", "")

    def test_every_picture_has_words_and_comes_along(self, any_page: Path) -> None:
        found = read(any_page)
        assert all(picture["alt"] for picture in found.all("img"))
        assert all(str(p["src"]).startswith("data:image/png;base64,") for p in found.all("img"))
        assert all(svg["role"] == "img" and svg["aria-label"] for svg in found.all("svg"))

    def test_every_id_stands_alone_and_every_reference_finds_its_own(self, any_page: Path) -> None:
        found = read(any_page)
        ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        wanted = re.findall(r'(?:href="|url\()#([^")]*)', any_page.read_text(encoding="utf-8"))
        assert set(wanted) <= set(ids)

    def test_page_says_that_this_is_no_medical_device(self, any_page: Path) -> None:
        assert "Not a medical device." in read(any_page).text


class TestGolden:
    def test_text_of_a_compared_run_is_as_it_was(self, tmp_path: Path) -> None:
        text = compared(tmp_path, name="alone").text
        # To accept a change, read the difference, and let the file hold the new text.
        assert text == GOLDEN.read_text(encoding="utf-8")


class TestHeadline:
    def test_random_teacher_is_stamped(self, tmp_path: Path) -> None:
        random = page_of(folders.binary(tmp_path / "one", random=True)).text
        learned = page_of(folders.binary(tmp_path / "other")).text
        assert "The teacher had random weights" in random
        assert "random weights" not in learned

    def test_teacher_that_a_method_never_asked_is_not_named(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run", method="student_alone")
        write_json(run.environment, folders.environment(None))
        assert "without a teacher (student alone)" in page_of(run).text

    def test_larger_and_slower_student_is_called_that(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        ratios = {"parameters": 2.0, "latency_ms_p50": 1.01}
        write_json(run.cost, {**read_json(run.cost), "ratios": ratios})
        text = page_of(run).text
        assert "2 times more than the teacher" in text
        assert "on a CPU (about as the teacher)" in text

    def test_several_tasks_are_summed_up_in_one_table(self, tmp_path: Path) -> None:
        found = page_of(folders.several_tasks(tmp_path / "run"))
        assert "for 3 tasks: covid_ct, blood_cells and busi" in found.text
        links = {str(link["href"]) for link in found.all("a")}
        assert links == {"#task-1", "#task-2", "#task-3"}
        assert links <= {f"#{section.get('id')}" for section in found.all("section")}

    def test_training_without_labels_is_no_task(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run", method="feature_distillation")
        for path in (run.metrics, run.predictions, run.worst / "index.json"):
            path.unlink()
        account = {"classes": [], "how": "our own", "counts": {"train": {}}, "findings": []}
        write_json(run.data, {"covid_ct": account})
        run.deployed("covid_ct").config.rename(run.path / "features.json")
        write_json(run.deployed("all").config, {"task": "all", "classes": ["0", "1"]})
        text = page_of(run).text
        assert "shufflenet_v2_x1_0, trained without labels on covid_ct" in text
        assert "Each term of the loss" in text
        assert "all has" not in text


class TestMissing:
    def test_interrupted_run_shows_what_there_is(self, tmp_path: Path) -> None:
        text = page_of(folders.interrupted(tmp_path / "run")).text
        assert "Not in the folder: the environment, the metrics," in text
        assert "3 of 25 epochs. Epoch 3 is the best so far on validation." in text
        assert "Results" not in text

    def test_whole_run_misses_nothing(self, tmp_path: Path) -> None:
        assert "Not in the folder" not in page_of(folders.binary(tmp_path / "run")).text

    def test_undefined_metric_is_a_dash(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        nothing = {"value": None, "low": None, "high": None}
        write_metrics(run.metrics, {"test": {"covid_ct": {"auroc": nothing}}})
        assert "AUROC \N{EN DASH}" in page_of(run).text.replace("\n", " ")

    def test_losses_that_were_not_finite_are_left_out_of_the_curve(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        write_jsonl(run.log, [{"epoch": 1, "losses": {"student": None}, "validation": None}])
        assert "Loss over the epochs: student unknown." in str(page_of(run).all("svg"))

    def test_broken_file_is_named(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        write_text(run.metrics, "{")
        with pytest.raises(UserError, match=r"metrics\.json cannot be read .*; remove it"):
            write_page(run)

    def test_class_without_a_sample_leaves_its_curves_out(self, tmp_path: Path) -> None:
        table = folders.table(folders.BLOOD, 60, "blood_cells")
        run = folders.write_run(tmp_path / "run", [_without(table, 3)])
        (roc,) = (svg for svg in page_of(run).all("svg") if str(svg["aria-label"])[:3] == "ROC")
        assert "monocyte" in str(roc["aria-label"])
        assert "neutrophil" not in str(roc["aria-label"])


class TestAnswers:
    def test_student_that_says_one_thing_is_called_out(self, tmp_path: Path) -> None:
        table = folders.table()
        same = replace(table, probabilities=np.tile(np.float32([0.6, 0.4]), (len(table), 1)))
        text = page_of(folders.write_run(tmp_path / "run", [same])).text
        assert "Every image was called COVID: the student tells nothing apart." in text


class TestAgainst:
    def test_says_plainly_what_is_noise(self, tmp_path: Path) -> None:
        text = compared(tmp_path, name="alone").text
        assert "AUROC +0.042 (+0.008 to +0.077), distinguishable from noise" in text
        assert "balanced accuracy +3.1 points (−1.6 to +7.9), not disting" in text  # noqa: RUF001

    def test_finds_differences_by_the_path_of_the_other_run(self, tmp_path: Path) -> None:
        text = compared(tmp_path, name=str(tmp_path / "alone")).text
        assert "distinguishable from noise" in text

    def test_untested_difference_is_left_open(self, tmp_path: Path) -> None:
        assert "no paired test was made" in compared(tmp_path).text

    def test_other_images_forbid_the_comparison(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        other = folders.write_run(tmp_path / "other", [folders.first(folders.table(), 100)])
        text = page_of(run, other).text
        shared = "100 of 203 here and 100 there are shared"
        assert f"Against other: it was judged on other images ({shared})" in text

    def test_other_task_is_not_compared(self, tmp_path: Path) -> None:
        run, other = folders.binary(tmp_path / "run"), folders.four_classes(tmp_path / "other")
        assert (
            "Against other: it has no predictions for the same task and split"
            in page_of(run, other).text
        )

    def test_runs_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        run, other = folders.binary(tmp_path / "a" / "rd"), folders.binary(tmp_path / "b" / "rd")
        assert "Against b/rd" in page_of(run, other).text

    def test_evaluation_on_images_from_elsewhere_is_shown(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        found = {"all": {"covid_ct": folders.estimates(folders.table(count=80))}}
        write_metrics(run.path / "evaluations" / "hospital-all" / "metrics.json", found)
        assert "hospital-all (all)" in page_of(run).text


class TestHarm:
    def test_markup_in_any_file_stays_text(self, tmp_path: Path) -> None:
        table = folders.table((EVIL, "$x_{$ & <b>"), task="t")
        run = folders.write_run(tmp_path / "<i>run", [table], method=EVIL)
        document = yaml.safe_load(run.recipe.read_text(encoding="utf-8"))
        document["student"]["name"] = EVIL
        write_text(run.recipe, yaml.safe_dump(document))
        finding = {"severity": EVIL, "kind": EVIL, "message": EVIL}
        account = {**folders.data(table.classes), "how": EVIL, "findings": [finding]}
        write_json(run.data, {"t": account})
        write_json(run.environment, {"versions": {EVIL: EVIL}, "teacher": {"name": EVIL}})
        found = page_of(run)
        assert not found.unbalanced
        assert {"script", "b", "i"} & {tag for tag, _ in found.tags} <= {"b"}
        assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
        assert EVIL in found.text

    def test_browser_is_told_to_load_and_run_nothing(self, tmp_path: Path) -> None:
        (policy,) = (m for m in page_of(empty(tmp_path / "run")).all("meta") if "http-equiv" in m)
        assert str(policy["content"]).startswith("default-src 'none'; img-src data:")

    def test_index_of_mistakes_leads_nowhere_else(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        index = read_json(run.worst / "index.json")
        (tmp_path / "secret.png").write_bytes(b"patient")
        index[0]["file"], index[1]["file"] = "../../secret.png", "gone.png"
        write_json(run.worst / "index.json", index)
        assert len(page_of(run).all("img")) == len(index) - 2


class TestWriting:
    def test_page_takes_the_place_of_an_older_one_and_leaves_no_draft(self, tmp_path: Path) -> None:
        run = folders.interrupted(tmp_path / "run")
        write_text(run.report, "old")
        before = {path.name for path in run.path.iterdir()}
        assert write_page(run) == run.report
        assert run.report.read_text(encoding="utf-8").startswith("<!doctype html>")
        assert {path.name for path in run.path.iterdir()} == before

    def test_same_run_gives_the_same_page(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        first = write_page(run).read_bytes()
        assert write_page(run).read_bytes() == first

    def test_matplotlib_and_torch_wait(self) -> None:
        code = (
            "import sys; sys.modules['torch'] = None; import medistill.report.page; "
            "assert 'matplotlib' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_unlabelled_samples_do_not_count(self, tmp_path: Path) -> None:
        table = folders.table()
        table.targets[:3] = -1
        run = folders.write_run(tmp_path / "run", [replace(table)])
        write_predictions(run.predictions, [table])
        assert "On 200 test images" in page_of(run).text


def _without(table: PredictionTable, index: int) -> PredictionTable:
    targets = table.targets.copy()
    targets[targets == index] = 0
    return replace(table, targets=targets)
