"""Each verb once, from the command line to the file it leaves."""

import csv
import json
import shutil
from pathlib import Path

import onnx
import pytest
from PIL import Image

from medistill.cli.main import run
from medistill.results import read_json, read_metrics
from tests.trained import FILE_MARK, Finished, Phantoms

NAMES = {"normal": "healthy", "smooth": "benign", "spiculated": "malignant"}


@pytest.fixture
def elsewhere(phantoms: Phantoms, tmp_path: Path) -> Path:
    """Another hospital's images, whose classes have other names."""
    for mine, theirs in NAMES.items():
        shutil.copytree(phantoms.brain / mine, tmp_path / "other" / theirs)
    return tmp_path / "other"


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    """The finished run where a verb may write into it."""
    return Path(shutil.copytree(finished.path, tmp_path / "run"))


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_evaluate_on_the_own_test_split_finds_what_training_found(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(copy)]) == 0
    assert "18 images" in capsys.readouterr().out
    found = read_metrics(copy / "evaluations" / "own-test" / "metrics.json")["test"]["breast"]
    assert found == read_metrics(copy / "metrics.json")["test"]["breast"]


def test_evaluate_on_other_data_judges_all_images_by_translated_names(
    copy: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ",".join(f"{mine}={theirs}" for mine, theirs in NAMES.items())
    assert run(["evaluate", str(copy), "--data", str(elsewhere), "--classes", names]) == 0
    said = capsys.readouterr().out
    assert "24 images" in said
    assert "learnt from" not in said
    folder = copy / "evaluations" / "other-all"
    assert "accuracy" in read_metrics(folder / "metrics.json")["all"]["breast"]
    assert {row["target"] for row in rows(folder / "predictions.csv")} == set(NAMES)


def test_evaluate_on_one_split_of_other_data(copy: Path, elsewhere: Path) -> None:
    names = ",".join(f"{mine}={theirs}" for mine, theirs in NAMES.items())
    other = ["--data", str(elsewhere), "--classes", names]
    assert run(["evaluate", str(copy), *other, "--split", "test"]) == 0
    assert (copy / "evaluations" / "other-test" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (None, "a class 'benign', which the run does not know; its classes are normal, smooth"),
        ("normal=healthy,smooth=benign", "a class 'malignant', which the run does not know"),
        ("normale=healthy", "the run has no class 'normale'; it has normal, smooth"),
    ],
)
def test_evaluate_names_a_class_that_has_no_counterpart(
    finished: Finished,
    elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
    classes: str | None,
    said: str,
) -> None:
    options = ["--classes", classes] if classes else []
    assert run(["evaluate", str(finished.path), "--data", str(elsewhere), *options]) == 2
    assert said in capsys.readouterr().err


def test_evaluate_warns_of_images_that_were_learnt_from(
    copy: Path, phantoms: Phantoms, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(copy), "--data", str(phantoms.breast)]) == 0
    assert "45 of these images were learnt from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--split", "nonsense"], "no image in the split 'nonsense'"),
        (["--task", "lung"], "no task 'lung'; choose with --task: breast"),
    ],
)
def test_evaluate_names_what_is_not_there(
    finished: Finished, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run(["evaluate", str(finished.path), *options]) == 2
    assert said in capsys.readouterr().err


def test_evaluate_needs_labels(
    finished: Finished, phantoms: Phantoms, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(finished.path), "--data", str(phantoms.flat)]) == 2
    assert "No image has a label" in capsys.readouterr().err


def test_export_writes_another_file_and_compares_it_with_torch(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "student.onnx"
    assert run(["export", str(copy), "--out", str(file)]) == 0
    assert "from torch on 15 validation images" in capsys.readouterr().out
    assert file.stat().st_size > 10_000
    assert read_json(copy / "parity.json")["breast"]["largest"] < 1e-4


@pytest.mark.parametrize("model", [".", "deployed/breast", "deployed/breast/model.onnx"])
def test_predict_takes_a_run_or_what_it_deployed_and_files_or_folders(
    finished: Finished, phantoms: Phantoms, tmp_path: Path, model: str
) -> None:
    named, image = finished.path / model, phantoms.flat / "0000.png"
    table = tmp_path / "new.csv"
    assert run(["predict", str(named), str(image), str(phantoms.chest), "--out", str(table)]) == 0
    found = rows(table)
    assert len(found) == 25
    shares = [float(found[0][f"p:{name}"]) for name in NAMES]
    assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_predict_says_what_a_folder_without_an_exported_network_lacks(
    phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(tmp_path), str(phantoms.flat)]) == 2
    assert "holds no exported network" in capsys.readouterr().err


def test_predict_goes_on_past_a_file_that_cannot_be_read(
    finished: Finished, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    inputs = [str(tmp_path / "broken.png"), str(phantoms.flat)]
    table = tmp_path / "new.csv"
    assert run(["predict", str(finished.path), *inputs, "--out", str(table)]) == 1
    assert "10 images predicted" in capsys.readouterr().out
    assert len([row for row in rows(table) if row["predicted"]]) == 10


def test_predict_draws_where_the_evidence_lies(
    finished: Finished, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    inputs = [str(phantoms.flat / "0000.png"), str(tmp_path / "broken.png"), str(phantoms.chest)]
    table = tmp_path / "new.csv"
    assert run(["predict", str(finished.path), *inputs, "--explain", "--out", str(table)]) == 1
    assert f"where the evidence lies: {tmp_path / 'new-overlays'}" in capsys.readouterr().out
    found = rows(table)
    drawn = [row["overlay"] for row in found if not row["error"]]
    assert drawn == [f"new-overlays/{number:04d}.png" for number in range(1, 26)]
    assert [row["overlay"] for row in found if row["error"]] == [""]
    with Image.open(tmp_path / drawn[0]) as image:
        assert image.width > image.height


@pytest.mark.parametrize(
    ("said", "why"),
    [
        # A file from before there was evidence says nothing of it.
        ({}, "old.onnx does not say where it looked: it was written by an older medistill."),
        ({"evidence": None}, "old.onnx has no map of evidence: its head reads more than the"),
    ],
)
def test_predict_says_why_a_file_cannot_explain(
    finished: Finished,
    phantoms: Phantoms,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    said: dict[str, None],
    why: str,
) -> None:
    model = onnx.load(finished.path / "deployed" / "breast" / "model.onnx")
    (entry,) = model.metadata_props
    known = {key: v for key, v in json.loads(entry.value).items() if key != "evidence"}
    entry.value = json.dumps({**known, **said})
    onnx.save(model, tmp_path / "old.onnx")
    old, table = [str(tmp_path / "old.onnx"), str(phantoms.flat)], str(tmp_path / "new.csv")
    assert run(["predict", *old, "--explain", "--out", table]) == 2
    assert why in capsys.readouterr().err
    assert run(["predict", *old, "--out", table]) == 0


def test_predict_agrees_with_what_the_run_says_of_its_test_images(
    finished: Finished, phantoms: Phantoms, tmp_path: Path
) -> None:
    images = sorted(phantoms.breast.glob(f"{FILE_MARK}-test-*"))
    table = tmp_path / "new.csv"
    assert run(["predict", str(finished.path), *map(str, images), "--out", str(table)]) == 0
    ours = sorted(float(row["p:normal"]) for row in rows(table))
    said = rows(finished.path / "predictions.csv")
    theirs = sorted(float(r["p:breast/normal"]) for r in said if r["split"] == "test")
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_report_compares_runs_on_the_same_images(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "again")
    (copy / "report.html").unlink()
    assert run(["report", str(copy), "--against", str(tmp_path / "again")]) == 0
    assert "again" in (copy / "report.html").read_text()
    (difference,) = read_json(copy / "differences.json").values()
    assert difference["breast"]["accuracy"]["value"] == 0


@pytest.mark.parametrize(
    ("shelf", "names"),
    [
        ("methods", ["reprogramming_distillation", "rd", "MICCAI 2024", "student_alone"]),
        ("students", ["torchvision/shufflenet_v2_x1_0", "timm/<name>"]),
        ("teachers", ["run:<folder>", "features:<file>", "CC-BY-NC-SA-4.0", "lvmmed_vit.pth"]),
        ("layouts", ["split_folders", "manifest", "medmnist"]),
    ],
)
def test_list_tells_what_there_is(
    shelf: str,
    names: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert run(["list", shelf]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in names)


def test_init_writes_a_recipe_that_lacks_nothing_but_the_teacher(
    phantoms: Phantoms,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", str(phantoms.brain)]) == 0
    assert "medistill train recipe.yaml" in capsys.readouterr().out
    light = ["teacher.name=timm/test_resnet", "student.name=timm/test_efficientnet"]
    light += ["data.size=32", "training.epochs=1", f"data.store={phantoms.store}"]
    sets = [part for override in light for part in ("--set", override)]
    assert run(["train", "recipe.yaml", *sets]) == 2
    assert "no file at path/to/weights.safetensors" in capsys.readouterr().err
    teacher = ["--set", "teacher.weights=random", "--set", "teacher.grid=1"]
    assert run(["train", "recipe.yaml", *sets, *teacher]) == 0


def test_init_never_overwrites(
    phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("mine")
    assert run(["init", str(phantoms.brain), "--out", str(recipe)]) == 2
    assert recipe.read_text() == "mine"


def test_check_finds_nothing_in_clean_images(
    phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run(["check", str(phantoms.brain)]) == 0


def test_check_names_every_trap_and_fails(
    phantoms: Phantoms,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    images = Path(shutil.copytree(phantoms.brain, tmp_path / "images"))
    (images / "smooth" / "torn.png").write_bytes((images / "smooth" / "0001.png").read_bytes()[:99])
    Image.new("L", (32, 32)).save(images / "normal" / "black.png")
    shutil.copy(images / "smooth" / "0002.png", images / "spiculated" / "both.png")
    assert run(["check", str(images), "--list", "which.csv"]) == 1
    said = capsys.readouterr().out
    for trap in ("torn.png", "black.png", "both.png"):
        assert trap in said
    assert "error" in said
    assert {Path(row["file"]).name for row in rows(Path("which.csv"))} >= {"torn.png", "both.png"}


def test_check_takes_a_recipe(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(finished.recipe)]) == 0
    assert "nothing at which training would stop" in capsys.readouterr().out
