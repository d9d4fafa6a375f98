"""A run as a whole: what it leaves, and what it refuses to touch."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from medistill.errors import Failure, UserError
from medistill.recipe import Recipe, read_recipe
from medistill.results import RunFolder, read_json, read_jsonl, read_metrics
from medistill.runs.console import Console
from medistill.runs.train import train
from medistill.training.checkpoint import load_checkpoint
from tests.trained import FILE_MARK, PATIENT_MARK, ROOT_MARK, Finished, Phantoms, write_recipe

FILES = {
    "recipe.yaml", "environment.json", "log.jsonl", "splits.json", "checkpoints/last.pt",
    "checkpoints/best.pt", "deployed/breast/model.safetensors", "deployed/breast/config.json",
    "deployed/breast/model.onnx", "predictions.csv", "metrics.json", "cost.json", "README.md",
    "report.html", "expense.json",
}  # fmt: skip
BESIDE = {
    "data.json", "sources.json", "probe.safetensors", "teacher-metrics.json", "parity.json",
    "worst/index.json", "finished",
}  # fmt: skip
METRICS = {
    "accuracy", "balanced_accuracy", "macro_f1", "auroc", "average_precision",
    "expected_calibration_error", "sensitivity/normal", "specificity/spiculated",
}  # fmt: skip


def files_of(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def unfinished(finished: Finished, folder: Path) -> Path:
    """A copy of the run as a kill in its last minute leaves it: trained, and not described."""
    shutil.copytree(finished.path, folder)
    for name in ("finished", "report.html", "metrics.json", "probe.safetensors"):
        (folder / name).unlink()
    shutil.rmtree(folder / "deployed")
    return folder


def reread(finished: Finished, *overrides: str) -> Recipe:
    return read_recipe(finished.recipe, list(overrides))


def test_a_run_leaves_what_it_promises_and_nothing_else(finished: Finished) -> None:
    found = files_of(finished.path)
    worst = {name for name in found if name.startswith("worst/") and name.endswith(".png")}
    assert found - worst == FILES | BESIDE
    assert len(worst) == len(read_json(finished.path / "worst" / "index.json"))


@pytest.mark.parametrize("mark", [FILE_MARK, PATIENT_MARK, ROOT_MARK])
def test_no_file_of_a_run_names_an_image_a_patient_or_the_place_of_the_data(
    finished: Finished, mark: str
) -> None:
    named = {
        name
        for name in files_of(finished.path)
        if mark.encode() in (finished.path / name).read_bytes() or mark in name
    }
    # The recipe's own root: whoever resumes needs it.
    assert named == ({"recipe.yaml"} if mark == ROOT_MARK else set())


def test_metrics_have_intervals_for_both_splits_and_the_teacher(finished: Finished) -> None:
    run = RunFolder(finished.path)
    for file in (run.metrics, run.teacher_metrics):
        metrics = read_metrics(file)
        assert set(metrics) == {"validation", "test"}
        assert set(metrics["test"]["breast"]) >= METRICS
        accuracy = metrics["test"]["breast"]["accuracy"]
        assert accuracy["low"] is not None and accuracy["value"] is not None
        assert accuracy["low"] <= accuracy["value"]


def test_the_log_has_a_line_an_epoch(finished: Finished) -> None:
    log = read_jsonl(finished.path / "log.jsonl")
    assert [record["epoch"] for record in log] == [1, 2, 3, 4, 5, 6]
    assert set(log[0]["losses"]) == {"student", "reprogrammed", "logits", "geometry"}
    assert log[0]["best"]


def test_one_plain_line_is_printed_an_epoch(finished: Finished) -> None:
    lines = [line for line in finished.said.splitlines() if line.startswith("training ")]
    assert [line.split()[1].strip(",") for line in lines] == [f"{epoch}/6" for epoch in range(1, 7)]
    assert "balanced_accuracy" in lines[0]


def test_the_environment_has_versions_hashes_and_time(finished: Finished) -> None:
    facts = read_json(finished.path / "environment.json")
    assert len(facts["weights"]["teacher"]) == 64
    assert len(facts["data"]["breast"]) == 64
    assert facts["teacher"]["random"]
    assert facts["seconds"] > 0
    assert {"python", "medistill", "torch", "onnxruntime"} <= set(facts["versions"])


def test_costs_have_ratios(finished: Finished) -> None:
    cost = read_json(finished.path / "cost.json")
    assert cost["student"]["parameters"] > 0
    ratio = cost["student"]["parameters"] / cost["teacher"]["parameters"]
    assert cost["ratios"]["parameters"] == pytest.approx(ratio, rel=0.01)


def test_the_worst_mistakes_are_small_nameless_images(finished: Finished) -> None:
    index = read_json(finished.path / "worst" / "index.json")
    assert index, "an untrained student makes mistakes"
    for mistake in index:
        assert mistake["target"] != mistake["predicted"]
        with Image.open(finished.path / "worst" / mistake["file"]) as image:
            assert image.size == (32, 32)
            assert not image.info


def test_what_is_deployed_is_what_validation_chose(finished: Finished) -> None:
    best = load_checkpoint(finished.path / "checkpoints" / "best.pt").method
    deployed = load_file(finished.path / "deployed" / "breast" / "model.safetensors")
    for name, tensor in deployed.items():
        assert torch.equal(tensor, best[f"student.{name}"]), name


def test_a_finished_run_is_left_as_it_is(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (finished.path / name).stat().st_mtime_ns for name in files_of(finished.path)}
    train(reread(finished), finished.path)
    assert "is finished: nothing to do" in capsys.readouterr().out
    after = {name: (finished.path / name).stat().st_mtime_ns for name in files_of(finished.path)}
    assert after == before


def test_a_run_of_another_recipe_is_never_touched(finished: Finished) -> None:
    with pytest.raises(UserError, match=r"another recipe \(training.seed: 0 there, 1 here\)"):
        train(reread(finished, "training.seed=1"), finished.path)


def test_an_unfinished_run_needs_resume(finished: Finished, tmp_path: Path) -> None:
    folder = unfinished(finished, tmp_path / "run")
    with pytest.raises(UserError, match="add --resume"):
        train(reread(finished), folder)


def test_a_run_stopped_while_it_was_described_ends_as_if_it_never_was(
    finished: Finished, tmp_path: Path
) -> None:
    folder = unfinished(finished, tmp_path / "run")
    train(reread(finished), folder, resume=True, console=Console(quiet=True))
    for name in ("metrics.json", "teacher-metrics.json", "predictions.csv", "log.jsonl"):
        assert (folder / name).read_bytes() == (finished.path / name).read_bytes(), name
    assert RunFolder(folder).finished
    assert (folder / "report.html").exists()
    earlier = read_json(finished.path / "environment.json")["seconds"]
    assert read_json(folder / "environment.json")["seconds"] != earlier


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_where_nothing_can_be_written_is_refused_before_any_work(
    finished: Finished, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Choose another --out"):
        train(reread(finished), tmp_path / place)


def test_a_loss_that_is_no_number_names_its_term_and_keeps_the_last_checkpoint(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import medistill.methods._asked as method

    calls = 0

    def poisoned(*arguments: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return original(*arguments) * (torch.nan if calls > 10 else 1)

    original, run = method.softened_kl, RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(method, "softened_kl", poisoned)
        with pytest.raises(Failure, match="loss 'logits', nan, in epoch 3, after 10 steps"):
            train(reread(finished), run.path, console=Console(quiet=True))
    assert load_checkpoint(run.last).step == 3
    assert not run.finished
    train(reread(finished), run.path, resume=True, console=Console(quiet=True))
    ours, theirs = (run.deployed("breast").weights, RunFolder(finished.path).deployed("breast"))
    assert ours.read_bytes() == theirs.weights.read_bytes()


def test_a_student_that_says_nan_of_validation_images_is_no_checkpoint(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    schedule = {"epochs": 3, "batch_size": 64, "learning_rate": 1e30, "threads": 1}
    recipe = read_recipe(write_recipe(tmp_path / "recipe.yaml", phantoms, training=schedule))
    with pytest.raises(Failure, match="NaN or infinity of validation images"):
        train(recipe, tmp_path / "run", console=Console(quiet=True))
    assert not RunFolder(tmp_path / "run").best.exists()


def test_the_student_starts_alike_with_and_without_a_teacher(
    finished: Finished, tmp_path: Path
) -> None:
    from medistill.runs.preparing import prepare

    def start(name: str, *overrides: str) -> dict[str, torch.Tensor]:
        recipe = reread(finished, *overrides)
        run = RunFolder(tmp_path / name)
        job = prepare(recipe, run, torch.device("cpu"), Console(quiet=True))
        return {k: v for k, v in job.method.state_dict().items() if k.startswith("student.")}

    ours, theirs = start("rd"), start("alone", "method.name=student_alone")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_config_of_what_is_deployed_says_how_to_use_it(finished: Finished) -> None:
    config = json.loads((finished.path / "deployed" / "breast" / "config.json").read_text())
    assert config["classes"] == ["normal", "smooth", "spiculated"]
    assert config["size"] == 32
    assert config["temperature"] > 0
    assert config["shared_encoder"]
    assert config["method"] == "rd"
