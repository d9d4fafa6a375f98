"""How the student was made: what of the log, the data and the cost reaches the page."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from medistill.report.evidence import Evidence
from medistill.report.making import cost, data, learning, record
from medistill.report.markup import Html, together
from medistill.results import RunFolder, append_jsonl, read_json, write_json, write_text

from . import folders
from .reading import Reader, read


def shown(parts: list[Html]) -> Reader:
    return read(together(parts))


def figures_of(parts: list[Html]) -> list[str]:
    return [str(svg["aria-label"]) for svg in shown(parts).all("svg")]


class TestLearning:
    def test_every_term_has_a_line(self, tmp_path: Path) -> None:
        losses, _ = figures_of(learning(Evidence(folders.binary(tmp_path / "run"))))
        for term in ("student", "reprogrammed", "logits", "geometry"):
            assert f"{term} from" in losses

    def test_metric_of_the_recipe_is_drawn_with_the_last_best_epoch(self, tmp_path: Path) -> None:
        _, validation = figures_of(learning(Evidence(folders.binary(tmp_path / "run"))))
        assert validation.startswith("Balanced accuracy over the epochs: covid_ct from")
        assert validation.endswith("The chosen epoch is 19.")

    def test_training_chosen_by_its_loss_shows_that(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        validation = {"all": {"loss": 0.5}}
        append_jsonl(run.log, {"epoch": 1, "losses": {"features": 1}, "validation": validation})
        assert figures_of(learning(Evidence(run)))[1].startswith(
            "Loss over the epochs: all from 0.5"
        )

    def test_epochs_without_validation_are_no_gap(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        for epoch in (1, 2, 3):
            found = {"validation": {"t": {"accuracy": epoch / 10}}} if epoch != 2 else {}
            append_jsonl(run.log, {"epoch": epoch, "losses": {"labels": 1.0}, **found})
        assert figures_of(learning(Evidence(run)))[1].endswith("t from 0.1 to 0.3.")


class TestData:
    def test_counts_add_up(self, tmp_path: Path) -> None:
        text = shown(data(Evidence(folders.binary(tmp_path / "run")), "covid_ct")).text
        assert "COVID 212 59 101 372\nNonCOVID 205 52 94 351\nall 417 111 195 723" in text

    def test_class_that_a_split_lacks_counts_nothing(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        counts = {"train": {"a": 2, "b": 1}, "test": {"a": 1}}
        write_json(run.data, {"t": {"classes": ["a", "b"], "counts": counts, "findings": []}})
        text = shown(data(Evidence(run), "t")).text
        assert "b 1 0 1" in text
        assert "Nothing was found amiss in the images." in text

    def test_findings_begin_with_how_bad_they_are(self, tmp_path: Path) -> None:
        text = shown(data(Evidence(folders.binary(tmp_path / "run")), "covid_ct")).text
        assert "warning 6 pairs of near copies" in text


class TestCost:
    def test_student_without_a_teacher_has_one_column(self, tmp_path: Path) -> None:
        text = shown(cost(Evidence(folders.four_classes(tmp_path / "run")))).text
        assert "Parameters 1.26 M\n" in text
        assert "student / teacher" not in text

    def test_quantity_that_nobody_measured_has_no_row(self, tmp_path: Path) -> None:
        run = folders.binary(tmp_path / "run")
        known = read_json(run.cost)
        del known["student"]["latency_ms_p95"], known["teacher"]["latency_ms_p95"]
        known["teacher"]["bytes"] = None
        write_json(run.cost, known)
        text = shown(cost(Evidence(run))).text
        assert "95th" not in text
        assert "Weights 5.15 MB \N{EN DASH}" in text

    def test_ranks_of_experts_are_told(self, tmp_path: Path) -> None:
        run = folders.several_tasks(tmp_path / "run")
        assert "rank" not in shown(cost(Evidence(run))).text
        write_json(run.cost, {**read_json(run.cost), "unfused": {"ranks": [78, 2, 4]}})
        assert "experts of rank 78, 2 and 4, in the order" in shown(cost(Evidence(run))).text

    def test_worst_parity_of_all_tasks_is_told(self, tmp_path: Path) -> None:
        run = folders.several_tasks(tmp_path / "run")
        write_json(run.parity, {**read_json(run.parity), "busi": {"largest": 3e-5, "pictures": 4}})
        text = shown(cost(Evidence(run))).text
        assert "differ by at most 3e-05 in a probability, over 36 validation images" in text


def test_record_is_folded_and_word_for_word(tmp_path: Path) -> None:
    run = folders.binary(tmp_path / "run")
    found = shown(record(Evidence(run)))
    assert len(found.all("details")) == 2
    assert "".join(found.pieces).count(run.recipe.read_text(encoding="utf-8").strip()) == 1
    assert "versions · torch 2.15.0" in found.text
    assert "accelerator" not in found.text


def told_of(path: Path, roots: dict[str, str], **more: Any) -> str:
    """The recipe as the page shows it."""
    run = RunFolder(path)
    document = {"data": {"roots": {task: {"root": root} for task, root in roots.items()}}, **more}
    write_text(run.recipe, yaml.safe_dump(document, sort_keys=False))
    return "".join(shown(record(Evidence(run))).pieces) + "\n"


class TestPlaces:
    def test_folders_of_the_data_are_not_told(self, tmp_path: Path) -> None:
        told = told_of(tmp_path, {"ct": "/home/alice/data/ct", "own": "../data/own"})
        assert "root: .../ct\n" in told
        assert "root: ../data/own\n" in told
        assert "alice" not in told

    def test_folder_within_another_keeps_a_name_of_its_own(self, tmp_path: Path) -> None:
        told = told_of(tmp_path, {"all": "/home/alice/data", "ct": "/home/alice/data/ct"})
        assert "root: .../data\n" in told
        assert "root: .../ct\n" in told

    def test_long_path_that_yaml_breaks_is_not_told_either(self, tmp_path: Path) -> None:
        place = "/home/alice/" + "many words of a long name " * 6 + "ct"
        told = told_of(tmp_path, {"ct": place})
        assert "alice" not in told
        assert "root: .../many words" in told.replace("\n", "")

    def test_root_of_the_machine_is_no_reason_to_mangle_the_rest(self, tmp_path: Path) -> None:
        assert "name: timm/resnet18" in told_of(
            tmp_path, {"ct": "/"}, student={"name": "timm/resnet18"}
        )

    def test_letters_that_mean_something_to_a_pattern_are_letters(self, tmp_path: Path) -> None:
        told = told_of(tmp_path, {"a": "/data/(a+b)[1]", "b": "/data/x\\1"})
        assert "(a+b)[1]" in told
        assert "/data" not in told


class TestEpochs:
    @pytest.mark.parametrize(
        ("done", "wanted", "words"),
        [(1, None, "1 epoch."), (3, None, "3 epochs."), (1, 25, "1 of 25 epochs."),
         (1, 1, "1 of 1 epoch.")],
    )  # fmt: skip
    def test_one_is_no_plural(
        self, tmp_path: Path, done: int, wanted: int | None, words: str
    ) -> None:
        run = RunFolder(tmp_path)
        write_text(run.recipe, yaml.safe_dump({"training": {"epochs": wanted}}))
        for epoch in range(1, done + 1):
            append_jsonl(run.log, {"epoch": epoch})
        assert f"\n{words}" in shown(learning(Evidence(run))).text

    def test_log_of_nothing_has_no_section(self, tmp_path: Path) -> None:
        assert learning(Evidence(RunFolder(tmp_path))) == []

    def test_time_is_told_where_it_is_known(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        append_jsonl(run.log, {"epoch": 2})
        write_json(run.environment, {"seconds": 7500})
        assert "2 epochs, 2 h 05 min in all." in shown(learning(Evidence(run))).text


class TestParity:
    def test_no_difference_at_all_is_zero(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        write_json(run.parity, {"t": {"largest": 0.0, "pictures": 1}})
        text = shown(cost(Evidence(run))).text
        assert "differ by at most 0 in a probability, over 1 validation image." in text

    def test_neither_cost_nor_parity_is_no_section(self, tmp_path: Path) -> None:
        assert cost(Evidence(RunFolder(tmp_path))) == []


class TestAccount:
    def test_nothing_known_of_the_data_is_nothing_said(self, tmp_path: Path) -> None:
        assert data(Evidence(RunFolder(tmp_path)), "t") == []

    def test_images_without_labels_have_no_table(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        write_json(run.data, {"t": {"classes": [], "counts": {"train": {}}, "how": "by: hand"}})
        found = shown(data(Evidence(run), "t"))
        assert not found.all("table")
        assert "Splits: by hand." in found.text

    def test_severity_that_nobody_knows_looks_like_a_note(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        finding = {"severity": "x y", "kind": "k", "message": "a < b"}
        write_json(run.data, {"t": {"counts": {}, "findings": [finding]}})
        found = shown(data(Evidence(run), "t"))
        assert found.all("b") == [{"class": "note"}]
        assert "x y a < b" in found.text


def test_environment_is_told_to_its_leaves(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_json(run.environment, {"a": {"b": {"c": 1}, "none": None}, "list": [1, "x"], "s": "<s>"})
    text = shown(record(Evidence(run))).text
    assert 'a · b · c 1\nlist [1, "x"]\ns <s>\n' in text
    assert "none" not in text
