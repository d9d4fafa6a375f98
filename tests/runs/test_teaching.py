"""The teacher of a run: asked once for each image and view, and read ever after."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medistill.data.loading import Loader
from medistill.data.order import Order
from medistill.models.teachers import Cached, Probed
from medistill.recipe import read_recipe
from medistill.results import RunFolder
from medistill.runs.console import Console
from medistill.runs.preparing import Job, prepare
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
