"""The teacher of a run: asked once for each image and view, and read ever after."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medistill.data.loading import Loader
from medistill.data.order import Order
from medistill.errors import UserError
from medistill.models.teachers import Cached, Probed
from medistill.recipe import read_recipe
from medistill.results import RunFolder, read_jsonl
from medistill.runs.console import Console
from medistill.runs.preparing import Job, prepare
from medistill.runs.train import train
from tests.trained import Phantoms, write_recipe


@pytest.fixture
def job(phantoms: Phantoms, tmp_path: Path) -> Job:
    recipe = read_recipe(write_recipe(tmp_path / "r.yaml", phantoms))
    return prepare(recipe, RunFolder(tmp_path / "run"), torch.device("cpu"), Console(quiet=True))


def agree(job: Job, split: str, **options: Any) -> None:
    assert job.teaching is not None
    teacher, asked = job.teaching.teacher, job.teaching.asked
    assert isinstance(teacher, Probed)
    assert isinstance(teacher.teacher, Cached)
    loader = Loader([one.dataset for one in job.opened], split, batch_size=7, **options)
    for epoch in (0, 1):
        for batch in loader.epoch(epoch):
            said, wanted = teacher(batch), asked(batch)
            assert torch.allclose(said.features, wanted.features, rtol=2e-3, atol=1e-4)
            assert torch.allclose(said.maps[-1], wanted.maps[-1], rtol=2e-3, atol=1e-4)


def test_the_cache_says_what_the_teacher_says_of_every_view(job: Job) -> None:
    from medistill.assemble import views

    agree(job, "train", order=Order(seed=5), views=views(job.recipe))


def test_the_cache_knows_the_validation_images_too(job: Job) -> None:
    agree(job, "validation")


def test_a_probe_is_fitted_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fitted_again(*_: object) -> None:
        raise AssertionError("the probe lies in the run")

    monkeypatch.setattr("medistill.runs.teaching.fit_probe", fitted_again)
    again = prepare(job.recipe, job.run, job.device, job.console)
    assert job.teaching is not None
    assert again.teaching is not None
    assert job.teaching.probe is not None
    assert again.teaching.probe is not None
    assert torch.equal(again.teaching.probe.weight, job.teaching.probe.weight)


def test_a_teacher_is_no_part_of_what_is_trained(job: Job) -> None:
    ours = {id(parameter) for parameter in job.method.parameters()}
    assert job.foundation is not None
    assert not any(id(parameter) in ours for parameter in job.foundation.encoder.parameters())
    assert not any("teacher" in name for name in job.method.state_dict())


def test_a_method_that_compares_all_scales_learns_alike_with_and_without_a_cache(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    def log(cache: bool) -> list[dict[str, Any]]:
        overrides = ["method=attention_transfer", "training.epochs=2", f"teacher.cache={cache}"]
        recipe = read_recipe(write_recipe(tmp_path / "r.yaml", phantoms), overrides)
        return read_jsonl(train(recipe, tmp_path / f"{cache}", console=Console(quiet=True)).log)

    for cached, anew in zip(log(True), log(False), strict=True):
        # The cache holds float16; what a step changes by that, the next ones carry on.
        assert cached["losses"] == pytest.approx(anew["losses"], rel=0.01)
        assert anew["losses"]["imitation"] > 0


def test_a_cache_serves_all_who_look_at_the_same_maps_and_nobody_else(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    def caches(*overrides: str) -> int:
        store = tmp_path / "store"
        recipe = read_recipe(
            write_recipe(tmp_path / "r.yaml", phantoms), [*overrides, f"data.store={store}"]
        )
        prepare(recipe, RunFolder(tmp_path / "run"), torch.device("cpu"), Console(quiet=True))
        return sum(path.is_dir() for path in (store / "teachers").iterdir())

    assert caches() == 1
    assert caches("method=at") == 2
    assert caches("method=at", "method.power=3", "student.name=timm/test_resnet") == 2
    assert caches("method=at", "student.size=64") == 3


def test_a_method_that_needs_maps_refuses_vectors_before_any_work(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    recipe = read_recipe(
        write_recipe(tmp_path / "r.yaml", phantoms), ["method=at", "teacher.grid=1"]
    )
    with pytest.raises(UserError, match=r"attention_transfer needs .* set teacher\.grid above 1"):
        train(recipe, tmp_path / "run", console=Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_caches_of_stretched_and_of_plain_images_are_told_apart(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    recipe = read_recipe(write_recipe(tmp_path / "r.yaml", phantoms))
    keys, said = [], []
    for stretch in (None, False, True):
        assert recipe.teacher is not None
        told = recipe.model_copy(
            update={"teacher": recipe.teacher.model_copy(update={"stretch": stretch})}
        )
        run = RunFolder(tmp_path / str(stretch))
        made = prepare(told, run, torch.device("cpu"), Console(quiet=True))
        assert made.teaching is not None
        teacher = made.teaching.teacher
        assert isinstance(teacher, Probed) and isinstance(teacher.teacher, Cached)
        keys.append(teacher.teacher.cache.folder)
        first = torch.as_tensor(made.opened[0].dataset.splits["train"][:1])
        said.append(teacher.teacher.cache.gather(first, torch.tensor([0])).features)
    assert keys[0] == keys[1] != keys[2]
    assert not torch.allclose(said[0], said[2], rtol=1e-2)
