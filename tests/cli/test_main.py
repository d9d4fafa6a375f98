"""Exit codes, and one line for every slip."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medistill.cli.main import run
from tests.trained import Finished, Phantoms, write_recipe

HEAVY = ("torch", "numpy", "matplotlib", "onnx", "onnxruntime", "pydicom", "timm")


@pytest.fixture
def recipe(phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good recipe in an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return write_recipe(Path("recipe.yaml"), phantoms)


def slip(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 2) -> str:
    """The one line that is said of a command."""
    assert run([str(argument) for argument in arguments]) == code
    said = capsys.readouterr().err
    assert said.startswith("medistill: ")
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], []])
def test_help_answers_without_a_heavy_import(arguments: list[str]) -> None:
    code = (
        "import sys; from medistill.cli.main import run; "
        f"assert run({arguments}) == 0; print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "Usage: medistill" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "medistill"]
    done = subprocess.run([*command, "--version"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("medistill ")
    failed = subprocess.run([*command, "trian"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing argument"),
        (["train", "recipe.yaml", "--bogus"], "No such option: --bogus"),
        (["list", "pets"], "'pets' is not one of 'methods'"),
        (["train", "none.yaml"], "No recipe at none.yaml (looked for /"),
        (["check", "nowhere"], "No data at nowhere (looked for /"),
        (["init", "nowhere"], "No data at nowhere (looked for /"),
        (["evaluate", "nowhere"], "No run at nowhere (looked for /"),
        (["export", "nowhere"], "No run at nowhere (looked for /"),
        (["predict", "nowhere.onnx", "recipe.yaml"], "No model at nowhere.onnx (looked for /"),
        (["report", "nowhere"], "nowhere is no finished run"),
        (["evaluate", "run", "--classes", "a"], "write it as mine=theirs"),
    ],
)
@pytest.mark.usefixtures("recipe")
def test_a_wrong_command_line_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in slip(capsys, *arguments)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=3", "training.epoch is unknown. Did you mean 'epochs'?"),
        ("training.epochs=many", "training.epochs = 'many'"),
        ("training.epochs", "write it as section.key=value"),
        ("training.epochs=[", "not valid YAML"),
        ("training.select=acuracy", "Unknown metric 'acuracy'. Did you mean 'accuracy'?"),
        ("training.device=abacus", "training.device 'abacus' is unknown"),
        ("evaluation.positive=cancer", "Unknown positive class 'cancer'. Available: normal"),
        ("data.root=nowhere", "data root 'nowhere' does not exist (looked at /"),
        ("data.layout=manifset", "Did you mean 'manifest'?"),
        ("data.patient_pattern=(", "data.patient_pattern '(' is no pattern"),
        ("data.store=recipe.yaml/x", "data.store recipe.yaml/x cannot be written"),
        ("data.augmentation.rotation=3", "Did you mean 'rotation_degrees'?"),
        ("method.name=logit_distilation", "Did you mean 'logit_distillation'?"),
        ("method.weights.geometri=1", "Did you mean 'geometry'?"),
        ("teacher=null", "needs a teacher: add a `teacher:` section"),
        ("teacher.weights=null", "teacher.weights is missing"),
        ("teacher.weights=none.safetensors", "no file at none.safetensors (looked for /"),
        ("teacher.name=timm/test_resnett", "Did you mean test_resnet"),
        ("teacher={name: 'run:nowhere'}", "No deployed network in nowhere (looked in /"),
        ("teacher.grid=9", "teacher.grid 9 does not fit"),
        (
            "student.name=timm/levit_128s",
            "timm/levit_128s does not take images of 32 pixels",
        ),
        ("student.start=run:nowhere", "No deployed network in nowhere"),
        (
            "student.name=resnet18",
            "Unknown model 'resnet18': write timm/<name>, torchvision/<name>",
        ),
    ],
)
def test_a_wrong_recipe_ends_in_one_line_and_leaves_no_run(
    recipe: Path, capsys: pytest.CaptureFixture[str], override: str, said: str
) -> None:
    assert said in slip(capsys, "train", recipe, "--set", override)
    assert not list(Path("runs").rglob("deployed"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_slip(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no GPU 0" in slip(capsys, "train", recipe, "--set", "training.device=cuda")


def test_two_roots_for_a_method_of_one_task_are_a_slip(
    phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"roots": [str(phantoms.brain), str(phantoms.chest)], "store": str(phantoms.store)}
    recipe = write_recipe(tmp_path / "recipe.yaml", phantoms, data=data)
    said = slip(capsys, "train", recipe)
    assert "trains one task, but the recipe has 2 roots: brain_mr, chest_xray" in said


def test_another_recipe_in_the_same_folder_is_a_slip(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", finished.recipe, "--out", finished.path, "--set", "training.epochs=7"]
    assert "training.epochs: 6 there, 7 here" in slip(capsys, *arguments)


def test_a_finished_run_is_no_slip(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(finished.recipe), "--out", str(finished.path)]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_another_method_leaves_teacher_and_settings_aside_and_says_so(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = ["--set", "method.name=student_alone", "--set", "training.epochs=1"]
    assert run(["train", str(recipe), *alone]) == 0
    said = capsys.readouterr().out
    assert "student_alone takes no teacher: timm/test_resnet is left aside." in said
    assert "dropout" not in Path("runs/recipe/recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (OSError(28, "No space left on device", "x.pt"), "No space left on device (x.pt)"),
        (FileNotFoundError(2, "No such file or directory", "a.png"), "(a.png)"),
    ],
)
def test_what_failed_without_a_slip_ends_in_one_line_and_exit_code_1(
    recipe: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    said: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("medistill.runs.learning.Learning.learn", fail)
    found = slip(capsys, "train", recipe, code=1)
    assert said in found
    assert "--resume" in found


def test_a_loss_that_is_no_number_is_a_failure_and_not_a_slip(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = slip(capsys, "train", recipe, "--set", "training.learning_rate=1e30", code=1)
    assert "Not a finite number: loss 'student'" in said


def test_a_full_disk_ends_in_one_line_and_a_run_that_can_be_resumed(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource", reason="file limits are a thing of POSIX")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    command = ["train", str(recipe), "--set", "training.epochs=1"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))  # a checkpoint is larger
    try:
        assert "was not written: File too large" in slip(capsys, *command, code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in Path("runs").rglob("*") if path.name.startswith(".")]
    assert run([*command, "--resume"]) == 0
