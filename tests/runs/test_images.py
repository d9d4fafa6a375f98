"""Images that would spoil a result stop a training before it begins."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from medistill.data.findings import Finding
from medistill.errors import UserError
from medistill.recipe import Recipe, validate
from medistill.results import RunFolder, read_json
from medistill.runs.console import Console
from medistill.runs.images import (
    heed,
    open_images,
    refuse_or_warn,
    say_errors,
    show_findings,
    stops,
    warn_of_small_shares,
    writable,
)
from medistill.runs.train import train
from tests.trained import Phantoms


@pytest.fixture
def torn(phantoms: Phantoms, tmp_path: Path) -> Path:
    images = Path(shutil.copytree(phantoms.brain, tmp_path / "images"))
    for number in range(5):
        (images / "smooth" / f"torn-{number}.png").write_bytes(b"no image")
    return images


def recipe(root: Path, phantoms: Phantoms, **data: Any) -> Recipe:
    settings = {"root": str(root), "size": 32, "views": 1, "store": str(phantoms.store), **data}
    schedule = {"epochs": 1, "batch_size": 8}
    return validate({
        "data": settings, "student": "timm/test_efficientnet", "method": "student_alone",
        "training": schedule,
    })  # fmt: skip


def looked_through(asked: Recipe) -> None:
    console = Console()
    refuse_or_warn(open_images(asked, None, console), asked, console)


def test_files_that_cannot_be_read_are_named_with_the_way_out(
    torn: Path, phantoms: Phantoms
) -> None:
    with pytest.raises(UserError) as error:
        looked_through(recipe(torn, phantoms))
    said = str(error.value)
    assert "smooth/torn-0.png" in said
    assert "and 2 more" in said
    assert said.endswith("leave them out with data.skip_unreadable: true.")
    assert "\n" not in said


def test_they_are_left_out_where_the_recipe_says_so_and_no_file_of_the_run_names_them(
    torn: Path, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe(torn, phantoms, skip_unreadable=True), tmp_path / "run")
    assert "warning: images: " in capsys.readouterr().out
    counts = read_json(RunFolder(tmp_path / "run").data)["images"]["counts"]
    assert sum(sum(split.values()) for split in counts.values()) == 24
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"torn-" not in path.read_bytes(), path


def test_a_patient_in_two_official_splits_is_warned_of(
    phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, root in (("train", phantoms.brain), ("test", phantoms.chest)):
        shutil.copytree(root, tmp_path / "both" / split)
    looked_through(recipe(tmp_path / "both", phantoms, patient_pattern=r"(\d{4})\.png"))
    said = capsys.readouterr().out
    assert "warning: both: " in said
    assert "patient" in said


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_store_that_cannot_be_one_is_named_with_the_way_out(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as error:
        writable(tmp_path / place)
    said = str(error.value)
    assert said.startswith(f"data.store {tmp_path / place} cannot be written (")
    assert said.endswith("). Name another folder: data.store.")


def test_a_home_that_nobody_has_is_a_slip_too() -> None:
    with pytest.raises(UserError, match=r"^data\.store ~nobody-of-this-name/x cannot be written"):
        writable(Path("~nobody-of-this-name/x"))


def test_a_store_is_made_where_there_is_none_and_left_empty(tmp_path: Path) -> None:
    folder = writable(tmp_path / "a b" / "ç")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_told_before_images_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medistill.runs.images.TemporaryFile", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        writable(tmp_path)


class TestFindings:
    def asked(self, **data: Any) -> Recipe:
        return validate({"data": {"root": "x", **data}, "method": "student_alone"})

    @pytest.mark.parametrize(
        ("severity", "kind", "skip", "stop"),
        [
            ("error", "unreadable", False, True),
            ("error", "unreadable", True, False),
            ("error", "leak", True, True),
            ("warning", "leak", False, False),
            ("note", "blank", False, False),
        ],
    )
    def test_an_error_stops_unless_the_recipe_allows_just_that(
        self, severity: Any, kind: str, skip: bool, stop: bool
    ) -> None:
        finding = Finding(severity, kind, "m")
        assert stops(finding, self.asked(skip_unreadable=skip)) is stop

    def test_notes_are_for_the_report_alone_and_brackets_are_text(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = [Finding("note", "blank", "quiet"), Finding("warning", "x", "loud", ("[b]1.png",))]
        heed("set", found, self.asked(), Console())
        assert capsys.readouterr().out == "warning: set: loud ([b]1.png)\n"

    def test_what_stops_names_where_all_of_it_is_listed(self) -> None:
        items = tuple(f"{number}.png" for number in range(5))
        with pytest.raises(UserError) as error:
            heed("set", [Finding("error", "leak", "two splits", items)], self.asked(), Console())
        assert str(error.value) == (
            "set: two splits (0.png; 1.png; 2.png; and 2 more). `medistill check` lists them all."
        )

    @pytest.mark.parametrize(
        ("count", "said"),
        [(0, "nothing at which training would stop"), (1, "1 error"), (2, "2 errors")],
    )
    def test_errors_are_counted(
        self, capsys: pytest.CaptureFixture[str], count: int, said: str
    ) -> None:
        found = [Finding("error", "leak", "m")] * count + [Finding("warning", "x", "m")]
        assert say_errors(found, self.asked(), Console()) is (count == 0)
        assert capsys.readouterr().out == f"{said}\n"

    def test_check_shows_every_item(self, capsys: pytest.CaptureFixture[str]) -> None:
        show_findings("set", [Finding("warning", "x", "loud", tuple("abcdef"))], Console())
        first, *rest = capsys.readouterr().out.splitlines()
        assert first == "warning set: loud"
        assert [line.strip() for line in rest] == list("abcdef")


class TestShares:
    """Of brain and breast, the latter with more training images."""

    def said(self, phantoms: Phantoms, capsys: Any, method: str, batch: int, sampling: str) -> str:
        roots = {"brain": {"root": str(phantoms.brain)}, "breast": {"root": str(phantoms.breast)}}
        asked = recipe(phantoms.brain, phantoms)
        document = asked.model_dump(mode="json")
        document["data"] |= {"roots": roots, "task_sampling": sampling}
        document |= {"method": {"name": method}, "training": {"batch_size": batch}}
        asked = validate(document)
        opened = open_images(asked, None, Console(quiet=True))
        capsys.readouterr()
        warn_of_small_shares(opened, asked, Console())
        return " ".join(capsys.readouterr().out.split())

    @pytest.mark.parametrize("method", ["stl", "stl_kd", "kf"])
    def test_a_task_with_few_images_in_a_batch_is_named(
        self, phantoms: Phantoms, capsys: Any, method: str
    ) -> None:
        said = self.said(phantoms, capsys, method, 16, "proportional")
        assert said.count("warning:") == 1
        assert "there: brain (" in said and "breast (" not in said
        assert said.endswith(
            "Set data.task_sampling: square_root or balanced, or a larger training.batch_size."
        )

    @pytest.mark.parametrize(
        ("method", "batch", "sampling"),
        [("mtl", 16, "proportional"), ("stl", 16, "balanced"), ("stl", 32, "proportional")],
    )
    def test_where_there_are_enough_or_networks_are_shared_nothing_is_said(
        self, phantoms: Phantoms, capsys: Any, method: str, batch: int, sampling: str
    ) -> None:
        assert self.said(phantoms, capsys, method, batch, sampling) == ""

    def test_of_balanced_tasks_a_larger_batch_alone_is_the_way_out(
        self, phantoms: Phantoms, capsys: Any
    ) -> None:
        said = self.said(phantoms, capsys, "stl", 12, "balanced")
        assert "there: brain (6.1), breast (5.9). Set a larger training.batch_size." in said
