"""How the student was made: what of the log, the data and the cost reaches the page."""

from pathlib import Path

from medistill.report.evidence import Evidence
from medistill.report.making import cost, data, learning, record
from medistill.report.markup import Html, together
from medistill.results import RunFolder, append_jsonl, read_json, write_json

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
