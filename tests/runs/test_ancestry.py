"""Foundation model, start and student in turn: each run is the next one's source."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from medistill.errors import UserError
from medistill.models.teachers import save_features
from medistill.recipe import Recipe, read_recipe, validate
from medistill.results import RunFolder, read_json, write_json, write_text
from medistill.runs.ancestry import (
    ALIKE_BITS,
    _alike,
    inherited_licences,
    parts_of,
    warn_of_shared_images,
)
from medistill.runs.console import Console
from medistill.runs.evaluate import evaluate
from medistill.runs.export import export
from medistill.runs.train import train
from tests.trained import Phantoms, write_recipe

QUICK = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "threads": 1}


@pytest.fixture
def made(phantoms: Phantoms, tmp_path: Path) -> Any:
    """Makes a recipe that differs from the finished run's in whole sections."""

    def make(**sections: Any) -> Recipe:
        path = write_recipe(tmp_path / "r.yaml", phantoms, **{"training": QUICK, **sections})
        return read_recipe(path)

    return make


def data(phantoms: Phantoms, *roots: Path) -> dict[str, Any]:
    return {"roots": list(map(str, roots)), "size": 32, "views": 2, "store": str(phantoms.store)}


def trained(recipe: Recipe, path: Path) -> RunFolder:
    return train(recipe, path, console=Console(quiet=True))


def test_a_foundation_model_of_two_roots_teaches_a_third(
    made: Any, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = data(phantoms, phantoms.brain, phantoms.chest)
    recipe = made(method="universal_pretraining", data=roots, teacher=None)
    foundation = trained(recipe, tmp_path / "foundation")
    assert foundation.tasks() == ["brain_mr", "chest_xray"]
    assert set(read_json(foundation.sources)) == {"brain_mr", "chest_xray"}
    run = train(made(teacher=f"run:{foundation.path}"), tmp_path / "student")
    assert read_json(run.environment)["teacher"]["random"] is False
    assert "too good" not in capsys.readouterr().out


def test_a_test_set_that_the_teacher_learnt_from_is_warned_of_through_all_ancestors(
    made: Any, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Ten loose images, of which eight are learnt from, are the test images of another set.
    first = trained(
        made(method="universal_pretraining", data=data(phantoms, phantoms.brain), teacher=None),
        tmp_path / "first",
    )
    second = trained(made(teacher=None, method="student_alone", student=f"run:{first.path}"),
                     tmp_path / "second")  # fmt: skip
    copied = tmp_path / "copied"
    for name, part in (("train", phantoms.chest), ("test", phantoms.brain)):
        copied.mkdir(exist_ok=True)
        (copied / name).symlink_to(part, target_is_directory=True)
    train(made(teacher=f"run:{second.path}", data=data(phantoms, copied)), tmp_path / "third")
    said = capsys.readouterr().out
    assert f"test images of copied are, or look like, images that {first.path} learnt from" in said
    findings = read_json(tmp_path / "third" / "data.json")["copied"]["findings"]
    assert [f["kind"] for f in findings].count("shared") >= 1


@pytest.mark.parametrize("labelled", [True, False])
def test_features_learnt_with_or_without_labels_start_a_student(
    made: Any, phantoms: Phantoms, tmp_path: Path, labelled: bool
) -> None:
    roots = [phantoms.breast, phantoms.flat] if labelled else [phantoms.flat]
    recipe = made(method="feature_distillation", data=data(phantoms, *roots))
    run = trained(recipe, tmp_path / "start")
    assert run.tasks() == ["features"]
    assert not run.metrics.exists()
    start = {"name": "timm/test_efficientnet", "start": f"run:{run.path}"}
    student = trained(made(method="student_alone", student=start), tmp_path / "student")
    learnt, grown = (load_file(r.deployed(n).weights) for r, n in
                     ((run, "features"), (student, "breast")))  # fmt: skip
    stem = "encoder.backbone.network.conv_stem.weight"
    assert (learnt[stem] - grown[stem]).abs().max() < 0.02, "it started elsewhere"
    for verb in (evaluate, export):
        with pytest.raises(UserError, match="learnt features without labels"):
            verb(run.path, console=Console(quiet=True))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (5, 2, 2)])
def test_a_file_of_features_teaches_as_well(
    made: Any, phantoms: Phantoms, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    paths = sorted(path.name for path in phantoms.breast.glob("*.png"))
    file = tmp_path / "features.safetensors"
    save_features(file, torch.rand(len(paths), *shape), paths)
    run = trained(made(teacher=f"features:{file}", method="rd"), tmp_path / "run")
    assert run.finished
    assert run.teacher_metrics.exists()


def test_an_image_without_features_is_named_before_the_training(
    made: Any, phantoms: Phantoms, tmp_path: Path
) -> None:
    paths = sorted(path.name for path in phantoms.breast.glob("*.png"))
    file = tmp_path / "features.safetensors"
    save_features(file, torch.rand(len(paths) - 1, 5), paths[1:])
    with pytest.raises(UserError, match=f"1 of {len(paths)} images have no row \\({paths[0]}"):
        trained(made(teacher=f"features:{file}"), tmp_path / "run")
    assert not RunFolder(tmp_path / "run").last.exists()


@pytest.mark.parametrize("method", ["direct_reprogramming", "logit_distillation", "linear_probe"])
def test_each_method_runs_by_the_same_recipe(made: Any, tmp_path: Path, method: str) -> None:
    run = trained(made(method=method), tmp_path / "run")
    assert run.finished
    assert run.metrics.exists()


class Made:
    """A root whose test images have these digests and thumbnails."""

    name = "breast"

    def __init__(self, **tested: int) -> None:
        self.tested = tested

    def seen(self, parts: Sequence[str]) -> Iterator[tuple[str, str]]:
        for digest, thumbnail in self.tested.items():
            if "test" in parts:
                yield digest, f"{thumbnail:x}"


def ancestor(
    folder: Path, learnt: dict[str, str], licences: Sequence[str] = (), **parts: Any
) -> None:
    run = RunFolder(folder)
    write_json(run.sources, {"old": learnt})
    write_json(run.deployed("old").config, {"licences": list(licences)})
    write_text(run.recipe, yaml.safe_dump({"data": {"root": "x"}, **parts}))


def taught_by(folder: Path, **teacher: Any) -> Recipe:
    section = {"name": f"run:{folder}", **teacher}
    return validate({"data": {"root": "x"}, "teacher": section, "method": "kd"})


class TestFamilies:
    def test_of_runs_that_start_from_one_another_in_a_circle_come_to_an_end(
        self, tmp_path: Path
    ) -> None:
        for name, other in (("a", "b"), ("b", "a")):
            parts = {"student": {"name": f"run:{tmp_path / other}"}}
            ancestor(tmp_path / name, {}, [f"terms of {name}"], **parts)
        found = inherited_licences(taught_by(tmp_path / "a", licence="own terms"))
        assert sorted(found) == ["own terms", "terms of a", "terms of b"]

    def test_those_of_a_teacher_that_is_left_aside_bind_nobody(self, tmp_path: Path) -> None:
        ancestor(tmp_path / "a", {}, ["terms of a"])
        recipe = taught_by(tmp_path / "a", licence="own terms")
        alone = recipe.model_copy(update={"method": {"name": "student_alone"}})
        assert inherited_licences(alone) == []
        assert parts_of(alone, random=False)["teacher"] is None

    def test_those_of_a_teacher_and_of_a_start_are_told_apart(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            ancestor(tmp_path / name, {}, [f"terms of {name}"])
        recipe = taught_by(tmp_path / "a")
        start = recipe.student.model_copy(
            update={"start": f"run:{tmp_path / 'b'}", "licence": "own terms"}
        )
        found = parts_of(recipe.model_copy(update={"student": start}), random=False)
        assert found["teacher"]["licences"] == ["terms of a"]
        assert found["student"]["licences"] == ["own terms", "terms of b"]

    def test_terms_that_two_runs_share_are_told_once(self, tmp_path: Path) -> None:
        ancestor(tmp_path / "b", {}, ["same"])
        ancestor(tmp_path / "a", {}, ["same"], teacher={"name": f"run:{tmp_path / 'b'}"})
        assert inherited_licences(taught_by(tmp_path / "a")) == ["same"]

    def test_without_a_record_of_images_nothing_is_known_and_nothing_fails(
        self, tmp_path: Path
    ) -> None:
        recipe = taught_by(tmp_path / "nowhere")
        assert warn_of_shared_images(recipe, [Made(a=1)], Console(quiet=True)) == []
        assert inherited_licences(recipe) == []

    @pytest.mark.parametrize(
        ("learnt", "count"),
        [
            ({"a": f"{2**50 - 1:x}"}, 1),  # the same pixels
            ({"x": f"{2**200 + 0b1111:x}"}, 1),  # four bits from the other image
            ({"x": f"{2**200 + 0b11111:x}"}, 0),
            ({"a": f"{2**50 - 1:x}", "x": f"{2**200:x}"}, 2),
            ({}, 0),
        ],
    )
    def test_an_image_is_met_again_by_its_pixels_or_by_its_looks(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        learnt: dict[str, str],
        count: int,
    ) -> None:
        ancestor(tmp_path / "a", learnt)
        tested = Made(a=2**100 - 1, b=2**200)
        said = warn_of_shared_images(taught_by(tmp_path / "a"), [tested], Console())
        assert [line.split()[0] for line in said] == ([str(count)] if count else [])
        assert capsys.readouterr().out.count("warning: ") == len(said)

    @given(st.integers(0, 2**256 - 1), st.sets(st.integers(0, 255)))
    def test_looks_are_alike_both_ways_up_to_a_few_bits(self, one: int, flips: set[int]) -> None:
        other = one
        for bit in flips:
            other ^= 1 << bit
        assert _alike(one, {other}) == _alike(other, {one}) == (len(flips) <= ALIKE_BITS)
